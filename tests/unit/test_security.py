"""What input may not do: run code, or write anywhere."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_linearity.checkpoint.load import load_checkpoint
from pytest_linearity.config.config import Config
from pytest_linearity.config.loading import load_config
from pytest_linearity.errors import CheckpointError, ConfigError, LinearityError, ProbeError
from pytest_linearity.probes.load import load_probes
from tests.support.checkpoints import character_tokenizer


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("tag", ["python/object/apply:pathlib.Path.touch", "python/name:os.system"])
def test_yaml_constructs_no_objects(tmp_path: Path, tag: str) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "cfg.yaml").write_text(f"model_name_or_path: a\nseed: !!{tag} [{marker}]")
    with pytest.raises(ConfigError, match="is not valid YAML: could not determine a constructor"):
        load_config(tmp_path / "cfg.yaml")
    (tmp_path / "ok.yaml").write_text("model_name_or_path: a")
    with pytest.raises(ConfigError):
        load_config(tmp_path / "ok.yaml", [f"seed=!!{tag} [{marker}]"])
    assert not marker.exists()


@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
def test_pickles_are_never_executed(tiny_checkpoint: Path, tmp_path: Path, form: str) -> None:
    marker = tmp_path / "marker"
    directory = shutil.copytree(tiny_checkpoint, tmp_path / "ckpt")
    (directory / "model.safetensors").unlink()
    weights = directory / "pytorch_model.bin"
    if form == "bare":
        weights.write_bytes(pickle.dumps(Payload(marker), protocol=2))
    else:
        zipped = form == "zip"
        torch.save({"x": Payload(marker)}, weights, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: (holds more than|is cut)"):
        load_checkpoint(Config(model_name_or_path=str(directory)))
    assert not marker.exists()
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()  # so the payload would have worked


def test_other_pickles_of_a_training_run_are_left_alone(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    directory = shutil.copytree(tiny_checkpoint, tmp_path / "ckpt")
    for name in ("training_args.bin", "optimizer.pt", "pytorch_model.bin", "rng_state.pth"):
        (directory / name).write_bytes(pickle.dumps(Payload(marker)))
    load_checkpoint(Config(model_name_or_path=str(directory)))
    assert not marker.exists()


REMOTE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM

Path({marker!r}).touch()

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


def test_remote_code_runs_only_on_request(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    marker = tmp_path / "marker"
    directory = shutil.copytree(tiny_checkpoint, tmp_path / "ckpt")
    (directory / "own.py").write_text(REMOTE.format(marker=str(marker)))
    described = json.loads((directory / "config.json").read_text())
    described |= {"model_type": "own", "architectures": ["OwnForCausalLM"]}
    described["auto_map"] = {
        "AutoConfig": "own.OwnConfig",
        "AutoModelForCausalLM": "own.OwnForCausalLM",
    }
    (directory / "config.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match="set trust_remote_code: true if you trust it"):
        load_checkpoint(Config(model_name_or_path=str(directory)))
    assert not marker.exists()
    trusted = load_checkpoint(Config(model_name_or_path=str(directory), trust_remote_code=True))
    assert trusted.architecture == "OwnForCausalLM"
    assert marker.exists()


def test_code_for_a_model_that_transformers_knows_is_left_alone(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    directory = shutil.copytree(tiny_checkpoint, tmp_path / "ckpt")
    (directory / "own.py").write_text(REMOTE.format(marker=str(marker)))
    described = json.loads((directory / "config.json").read_text())
    described["auto_map"] = {"AutoModelForCausalLM": "own.OwnForCausalLM"}
    (directory / "config.json").write_text(json.dumps(described))
    loaded = load_checkpoint(Config(model_name_or_path=str(directory)))
    assert loaded.architecture == "LlamaForCausalLM"
    assert not marker.exists()


@pytest.mark.parametrize("source", ["tokenizer", "file"])
@pytest.mark.parametrize(
    "jinja",
    [
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.getcwd() }}",
        "{% set _ = messages.append(1) %}",
    ],
)
def test_templates_are_rendered_in_a_sandbox(tmp_path: Path, source: str, jinja: str) -> None:
    (tmp_path / "rows.json").write_text('[{"instruction": "a"}]')
    (tmp_path / "own.jinja").write_text(jinja)
    config = Config(
        model_name_or_path="-",
        dataset=[str(tmp_path / "rows.json")],
        template=str(tmp_path / "own.jinja"),
    )
    tokenizer = character_tokenizer(chat_template=jinja if source == "tokenizer" else None)
    with pytest.raises(ProbeError, match=r"refused by the chat template \(.*unsafe"):
        load_probes(config, tokenizer)


def test_a_folder_with_a_loading_script_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "rows.py").write_text(f"open({str(marker)!r}, 'w')")
    config = Config(model_name_or_path="-", dataset=[str(tmp_path / "rows")])
    with pytest.raises(ProbeError, match="holds no data"):
        load_probes(config, character_tokenizer())
    assert not marker.exists()


def test_the_report_stays_in_its_directory(tmp_path: Path) -> None:
    for name in ("../r.json", "a/b.json", "/r.json", "..", "C:r.json", "a\\b.json"):
        with pytest.raises(ConfigError, match=r"report_filename: .* is not a bare file name"):
            Config(model_name_or_path="a", report_filename=name)
    config = Config(model_name_or_path="a", output_dir=str(tmp_path), report_filename="r.json")
    assert config.report_path == tmp_path / "r.json"


def test_every_refusal_is_one_kind_of_error() -> None:
    assert issubclass(CheckpointError, LinearityError)
    assert issubclass(ConfigError, LinearityError)
    assert issubclass(ProbeError, LinearityError)
