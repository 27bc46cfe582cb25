"""The content of a checkpoint as one digest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_linearity.checkpoint.digest import content_digest
from tests.support.checkpoints import rewrite


class TestContent:
    @pytest.fixture
    def digest(self, tmp_path: Path) -> Callable[[], str]:
        directory = tmp_path / "checkpoint"
        directory.mkdir()
        for name in ("model.safetensors", "config.json", "modeling.py", "optimizer.bin"):
            (directory / name).write_text(name)
        return lambda: content_digest(directory, tmp_path / "memory")

    @pytest.fixture
    def reads(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        from pytest_linearity.checkpoint import digest

        names: list[str] = []
        read = digest._file_digest

        def spy(path: Path) -> str:
            names.append(path.name)
            return read(path)

        monkeypatch.setattr(digest, "_file_digest", spy)
        return names

    def test_is_remembered(self, digest: Callable[[], str], reads: list[str]) -> None:
        assert digest() == digest()
        assert sorted(reads) == ["config.json", "model.safetensors", "modeling.py"]

    def test_is_read_again_where_a_file_was_written(
        self, digest: Callable[[], str], reads: list[str], tmp_path: Path
    ) -> None:
        first = digest()
        rewrite(tmp_path / "checkpoint" / "model.safetensors")
        assert digest() != first
        assert len(reads) == 4

    def test_does_not_depend_on_what_a_trainer_leaves(
        self, digest: Callable[[], str], tmp_path: Path
    ) -> None:
        first = digest()
        for name in ("optimizer.bin", "trainer_state.json", "rng_state.pth", "README.md"):
            (tmp_path / "checkpoint" / name).write_text("new")
        assert digest() == first

    @pytest.mark.parametrize("name", ["chat_template.jinja", "code/model.py", "tokenizer.json"])
    def test_depends_on_a_new_file(
        self, name: str, digest: Callable[[], str], tmp_path: Path
    ) -> None:
        first = digest()
        path = tmp_path / "checkpoint" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        assert digest() != first

    def test_depends_on_names(self, digest: Callable[[], str], tmp_path: Path) -> None:
        first = digest()
        (tmp_path / "checkpoint" / "config.json").rename(tmp_path / "checkpoint" / "x.json")
        assert digest() != first

    def test_a_damaged_memory_is_no_memory(
        self, digest: Callable[[], str], reads: list[str], tmp_path: Path
    ) -> None:
        first = digest()
        for content in ("{", "[]", '{"a": 1}'):
            (tmp_path / "memory").write_text(content)
            assert digest() == first
        assert len(reads) == 12
