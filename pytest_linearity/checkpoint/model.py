"""The model of a checkpoint, with the weights of its files and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_linearity.checkpoint import hub
from pytest_linearity.checkpoint.declared import declared_config, eager
from pytest_linearity.checkpoint.dtypes import (
    keep_stored,
    owners_of,
    parameters_by_dtype,
    torch_dtype,
    widest,
)
from pytest_linearity.checkpoint.headers import Header, headers_of, main_dtype
from pytest_linearity.checkpoint.readable import readable
from pytest_linearity.checkpoint.weights import check_loaded
from pytest_linearity.checkpoint.wrappers import rename, without_wrappers
from pytest_linearity.errors import CheckpointError, one_line, pass_on_foreign

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class LoadedModel:
    """A model whose weights are those of its files."""

    model: PreTrainedModel
    """In evaluation mode, without gradients."""
    dtype: str
    """That of most bytes in the files, as `bfloat16`."""
    dtypes: Mapping[str, int]
    """How many parameters are stored in which dtype, most first."""


def load_model(directory: Path, weights: Path, *, trust_remote_code: bool) -> LoadedModel:
    """Load a model whose files have been looked at.

    Its weights stay on disk, mapped into memory, as far as its architecture keeps them as they are.

    Args:
        directory: The checkpoint.
        weights: The file that the weights are in, or the first of several.
        trust_remote_code: Whether code that comes with it may run.

    Raises:
        CheckpointError: If it cannot be loaded; if its weights do not fit it.
    """
    loader = _Loader(directory, weights, trust_remote_code)
    headers = headers_of(directory, weights)
    dtype = main_dtype(headers)
    patterns = loader.patterns(headers)
    model = loader.load(torch_dtype(dtype), patterns)
    if not keep_stored(directory, model, headers, patterns):
        model = loader.load(widest(headers), patterns)
    return LoadedModel(model, dtype, parameters_by_dtype(model, headers, patterns))


@dataclass(frozen=True)
class _Loader:
    """How transformers is asked for a model."""

    directory: Path
    weights: Path
    trust_remote_code: bool

    def patterns(self, headers: Sequence[Header]) -> dict[str, str]:
        """What stands before names of tensors that the model knows without it."""
        patterns = without_wrappers([header.name for header in headers])
        if not patterns:
            return {}
        import torch
        from transformers import AutoModelForCausalLM

        loader: Any = AutoModelForCausalLM
        try:
            with hub.quiet(), torch.device("meta"):
                declared = declared_config(self.directory, trust_remote_code=self.trust_remote_code)
                model = loader.from_config(
                    declared, trust_remote_code=self.trust_remote_code, **eager()
                )
        except Exception as error:  # whatever the model's code raises
            pass_on_foreign(error)
            raise self._failure(error) from error
        if len(owners_of(model, headers, patterns)) <= len(owners_of(model, headers, {})):
            return {}
        self._refuse_doubles(headers, patterns)
        return patterns

    def _refuse_doubles(self, headers: Sequence[Header], patterns: dict[str, str]) -> None:
        names: dict[str, str] = {}
        for header in headers:
            own = rename(header.name, patterns)
            if own in names:
                raise CheckpointError(
                    f"{self.directory}: holds both {own} and "
                    f"{max(header.name, names[own], key=len)}, which are one weight of the model"
                )
            names[own] = header.name

    def load(self, dtype: torch.dtype, patterns: dict[str, str]) -> PreTrainedModel:
        """The model in evaluation mode, with all of its weights and no others."""
        from transformers import AutoModelForCausalLM

        loader: Any = AutoModelForCausalLM
        try:
            with hub.quiet(), readable(self.directory) as place:
                # A config that is read here, and not by the model, may name a kernel that is
                # missing.
                declared = declared_config(self.directory, trust_remote_code=self.trust_remote_code)
                model, loading = loader.from_pretrained(
                    str(place),
                    config=declared,
                    dtype=dtype,
                    local_files_only=True,
                    trust_remote_code=self.trust_remote_code,
                    use_safetensors=self.weights.suffix == ".safetensors",
                    weights_only=True,
                    ignore_mismatched_sizes=True,  # so that they are listed, and refused below
                    output_loading_info=True,
                    **({"key_mapping": patterns} if patterns else {}),
                    **eager(),
                )
        except Exception as error:  # whatever the model's code raises
            pass_on_foreign(error)
            hint = "; transformers 5 reads names like those of its tensors" if patterns else ""
            raise CheckpointError(f"{self._failure(error)}{hint}") from error
        model.name_or_path = model.config._name_or_path = str(self.directory)
        model.eval()
        model.requires_grad_(False)
        model.config.use_cache = False
        check_loaded(self.directory, model, loading)
        return model  # type: ignore[no-any-return]

    def _failure(self, error: Exception) -> CheckpointError:
        return CheckpointError(f"{self.directory}: cannot be loaded: {one_line(error)}")
