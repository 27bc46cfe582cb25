"""What is asked of the Hugging Face hub, and what is taken from its local cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_linearity.checkpoint import hub
from pytest_linearity.checkpoint.load import load_checkpoint
from pytest_linearity.config.config import Config
from pytest_linearity.errors import ProbeError
from pytest_linearity.probes.load import load_probes
from tests.support.checkpoints import character_tokenizer, tiny_llama


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of the hub that holds one model, on its branch ``tuned``."""
    model = tmp_path / "cache" / "models--some--model"
    tiny_llama(model / "snapshots" / "c0ffee")
    (model / "refs").mkdir()
    (model / "refs" / "tuned").write_text("c0ffee")
    return tmp_path / "cache"


def test_a_cached_model_is_used_when_the_hub_is_off(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = Config(model_name_or_path="some/model", model_revision="tuned", cache_dir=str(cache))
    checkpoint = load_checkpoint(config)
    assert checkpoint.path == "some/model"
    assert checkpoint.parameters == 25184


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_the_hub_is_asked_only_when_this_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    import huggingface_hub

    asked: list[dict[str, Any]] = []

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append({"name": name, **options})
        return str(tmp_path)

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    hub.snapshot("some/model", revision="main", cache_dir=None, code=False)
    monkeypatch.setenv(variable, "1")
    hub.snapshot("some/model", revision="main", cache_dir=None, code=False)
    assert [call["local_files_only"] for call in asked] == [False, False, True, True]


def test_code_and_weights_are_fetched_only_when_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    patterns: list[list[str]] = []

    def snapshot_download(name: str, *, allow_patterns: list[str], **options: Any) -> str:
        patterns.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    hub.snapshot("some/model", revision="main", cache_dir=None, code=False, weights=False)
    assert not {"*.py", "model*.safetensors", "pytorch_model*.bin"} & set(patterns[-1])
    hub.snapshot("some/model", revision="main", cache_dir=None, code=True)
    assert {"*.py", "model*.safetensors", "pytorch_model*.bin"} <= set(patterns[-1])
    (tmp_path / "model.safetensors").touch()
    patterns.clear()
    hub.snapshot("some/model", revision="main", cache_dir=None, code=False)
    assert patterns == [[*hub._SMALL_FILES, "model*.safetensors"]]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("some/model", True),
        ("gpt2", True),
        ("./a/b", False),
        ("/a", False),
        ("a/b/c", False),
        ("~/a", False),
        ("a/", False),
        ("a b", False),
        ("../a", False),
    ],
)
def test_what_may_be_an_id(name: str, answer: bool) -> None:
    assert hub.is_id(name) is answer


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The hub gives one data set; what it is asked for is listed."""
    import datasets
    import huggingface_hub

    asked: list[dict[str, Any]] = []

    def load_dataset(place: str, **options: Any) -> Any:
        asked.append({"id": place, **options})
        return datasets.Dataset.from_list([{"question": "A"}, {"question": "B"}])

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *a, **k: None)
    return asked


def test_a_data_set_on_the_hub(served: list[dict[str, Any]], tmp_path: Path) -> None:
    config = Config(
        model_name_or_path="-",
        dataset="some/set",
        subset="main",
        split="test",
        columns={"prompt": "question"},
        cache_dir=str(tmp_path),
        started_in=tmp_path,
    )
    probes = load_probes(config, character_tokenizer())
    assert [probe.token_ids for probe in probes.probes] == [(1, 5, 41, 6), (1, 5, 42, 6)]
    (asked,) = served
    assert (asked["id"], asked["name"], asked["split"]) == ("some/set", "main", "test")
    assert asked["cache_dir"] == str(tmp_path)


def test_an_entry_may_lead_to_the_hub(served: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text(
        '{"ours": {"hf_hub_url": "some/set", "ms_hub_url": "other/set", "subset": "main",'
        ' "folder": "data", "split": "dev", "columns": {"prompt": "question"}}}'
    )
    config = Config(model_name_or_path="-", dataset="ours", dataset_dir=str(tmp_path))
    probes = load_probes(config, character_tokenizer())
    assert {probe.source for probe in probes.probes} == {"ours"}
    (asked,) = served
    assert (asked["id"], asked["name"], asked["split"]) == ("some/set", "main", "dev")
    assert asked["data_dir"] == "data"


def test_a_data_set_the_hub_does_not_give_is_refused_in_a_line(
    served: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def dataset_info(*args: Any, **options: Any) -> None:
        raise OSError("no such\nrepository")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    config = Config(model_name_or_path="-", dataset="some/set", started_in=tmp_path)
    with pytest.raises(
        ProbeError, match=r"some/set: .*it is no file or folder here.*no such repository"
    ):
        load_probes(config, character_tokenizer())
    assert served == []
