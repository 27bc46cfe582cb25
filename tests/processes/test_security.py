"""Local input touches neither the network nor the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch

ISOLATED = """
import socket, sys

def refuse(*args, **kwargs):
    print("NETWORK", args)
    raise OSError("no network in this test")

socket.getaddrinfo = refuse
socket.socket.connect = refuse

from pytest_linearity.config.config import Config
from pytest_linearity.checkpoint.load import load_checkpoint
from pytest_linearity.errors import LinearityError
from pytest_linearity.probes.load import load_probes

for keys in {cases}:
    try:
        config = eval(f"Config({{keys}})")
        checkpoint = load_checkpoint(config)
        print("LOADED", len(load_probes(config, checkpoint.tokenizer).probes))
    except LinearityError as error:
        print("REFUSED", error)
"""


def isolated(directory: Path, *cases: str, **environment: str) -> tuple[list[str], set[str]]:
    """What loading prints in a process of its own, and the files it leaves behind."""
    home, start, temporary = (directory / name for name in ("home", "start", "temporary"))
    for place in (home, start, temporary):
        place.mkdir(parents=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    kept |= {"HOME": str(home), "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    code = ISOLATED.format(cases=cases)
    result = subprocess.run(
        [sys.executable, "-B", "-c", code],
        capture_output=True,
        text=True,
        cwd=start,
        env={**kept, **environment},
        check=True,
    )
    left = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    return result.stdout.splitlines(), left


def test_local_paths_touch_neither_the_network_nor_the_disk(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    source = shutil.copytree(tiny_checkpoint, tmp_path / "ckpt")
    (source / "model.safetensors").rename(tmp_path / "weights")
    from safetensors.torch import load_file

    torch.save(load_file(tmp_path / "weights"), source / "pytorch_model.bin")  # none is converted
    (tmp_path / "rows.csv").write_text("instruction\na\n")
    before = {path.name for path in source.iterdir()}
    keys = f"model_name_or_path={str(source)!r}, dataset=[{str(tmp_path / 'rows.csv')!r}]"
    printed, left = isolated(tmp_path / "process", keys)
    assert printed == ["LOADED 1"]
    assert left == set()
    assert {path.name for path in source.iterdir()} == before


def test_nothing_is_fetched_when_the_hub_is_off(tiny_checkpoint: Path, tmp_path: Path) -> None:
    cases = (
        "model_name_or_path='some/model'",
        f"model_name_or_path={str(tiny_checkpoint)!r}, tokenizer_name_or_path='some/tokenizer'",
        f"model_name_or_path={str(tiny_checkpoint)!r}, dataset='some/set'",
    )
    printed, _ = isolated(tmp_path / "process", *cases, HF_HUB_OFFLINE="1")
    assert len(printed) == 3, printed
    for line, name in zip(printed, ("model", "tokenizer", "set"), strict=True):
        assert line.startswith("REFUSED")
        assert f"some/{name}" in line
