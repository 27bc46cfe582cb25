"""Any document at all gives a config or one line."""

from __future__ import annotations

import json
import string
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pytest_linearity.config.config import KEYS, Config
from pytest_linearity.config.loading import load_config
from pytest_linearity.errors import ConfigError
from tests.support.configs import write

# Keys of data sets are warned about where no data set is named, which is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::pytest_linearity.config.config.ConfigWarning")

names = st.text(string.ascii_letters + "_-./", min_size=1, max_size=12).filter(
    lambda name: name.strip(".") and not name.isspace()
)
words = st.text(min_size=1, max_size=20).filter(
    lambda text: text.strip() and "${" not in text and text != "???"
)
positive = st.floats(1e-6, 1e6)
metrics = st.one_of(
    st.sampled_from(["kl", "top1_agreement", "symmetric_relative_error"]),
    st.integers(1, 10**6).map("top_{}_relative_error".format),
)
VALID: dict[str, st.SearchStrategy[Any]] = {
    "model_revision": names,
    "tokenizer_name_or_path": names,
    "cache_dir": names,
    "trust_remote_code": st.booleans(),
    "finetuning_type": st.just("full"),
    "dataset_dir": names,
    "subset": names,
    "split": names,
    "formatting": st.sampled_from(["alpaca", "sharegpt", "openai"]),
    "columns": st.dictionaries(st.sampled_from(["prompt", "query", "history"]), words),
    "tags": st.dictionaries(st.sampled_from(["role_tag", "user_tag"]), words),
    "max_samples": st.integers(1, 10**9),
    "num_samples": st.integers(1, 10**9),
    "template": names,
    "template_date": st.dates().map(str),
    "enable_thinking": st.booleans(),
    "chat_template_kwargs": st.dictionaries(st.sampled_from(["a", "effort"]), words | st.none()),
    "default_system": words,
    "cutoff_len": st.integers(1, 10**6),
    "batch_size": st.integers(1, 10**6),
    "num_directions": st.integers(1, 10**6),
    "perturbation_std": positive,
    "radii": st.lists(positive, min_size=1, max_size=5, unique=True),
    "param_scope": st.one_of(st.just("full"), st.integers(1, 99).map("last_blocks:{}".format)),
    "cos_threshold": st.floats(-1, 1),
    "relerr_threshold": st.floats(0, 1e6),
    "metrics": st.lists(metrics, max_size=3, unique=True),
    "limits": st.dictionaries(metrics, st.none() | st.floats(-1e6, 1e6), max_size=3),
    "precision": st.sampled_from(["auto", "float32", "float64"]),
    "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:1"]),
    "seed": st.integers(0, 2**63 - 1),
    "output_dir": names,
    "report_filename": st.sampled_from(["r.json", "report 1.json"]),
}
probes = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"prompts": st.lists(words, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"dataset": st.lists(names, min_size=1, max_size=3)}),
)
valid_documents = st.builds(
    lambda keys, source: {"model_name_or_path": "a", **keys, **source},
    st.fixed_dictionaries({}, optional=VALID),
    probes,
)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.dates()
    | st.binary(max_size=5)
    | st.sampled_from(["${", "${x}", "${oc.env:X}", "???", "${oc.decode:[}", "last_blocks:²"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=8,
)
keys = st.sampled_from([*KEYS, "analysis", "adapter_name_or_path", "quantization_bit", "x"])
relaxed = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@relaxed
@given(document=valid_documents, nested=st.booleans())
def test_valid_input_is_never_refused(
    tmp_path: Path, document: dict[str, Any], nested: bool
) -> None:
    text = yaml.safe_dump({"analysis": document} if nested else document)
    config = load_config(write(tmp_path, text))
    described = config.to_dict()
    for key, value in document.items():
        assert described[key] == (sorted(value) if key == "radii" else value)
    assert Config(**json.loads(json.dumps(described))).to_dict() == described


@relaxed
@given(document=st.dictionaries(keys, anything, max_size=4) | anything)
@example(document={"model_name_or_path": "a", "radii": "[[", "analysis": {"seed": float("inf")}})
def test_no_document_gives_a_traceback(tmp_path: Path, document: Any) -> None:
    no_traceback(write(tmp_path, yaml.safe_dump(document)))


@relaxed
@given(
    content=st.binary(max_size=60)
    | st.text(max_size=60).map(lambda t: t.encode("utf-8", "replace"))
)
@example(content=b"? [a]\n: b")
@example(content=b"a: !!float ''")
@example(content=b"a: 2020-13-45")
def test_no_file_gives_a_traceback(tmp_path: Path, content: bytes) -> None:
    no_traceback(write(tmp_path, content))


@relaxed
@given(override=st.builds("{}={}".format, keys, st.text(max_size=12)) | st.text(max_size=12))
@example(override="radii[0]=1")
@example(override="columns.prompt.x=1")
@example(override="seed.a=1")
@example(override="radii=\x1f\n")
def test_no_override_gives_a_traceback(tmp_path: Path, override: str) -> None:
    no_traceback(write(tmp_path, "model_name_or_path: a"), override)


def no_traceback(path: Path, *overrides: str) -> None:
    """The file gives a config or one line."""
    problem = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            json.dumps(load_config(path, overrides).to_dict(), allow_nan=False)
        except ConfigError as error:
            problem = str(error)
    assert "\n" not in problem
