"""One validated config of a run, from a YAML file to one config per checkpoint and scope."""

from pytest_linearity.config.config import Config, ConfigWarning
from pytest_linearity.config.loading import load_config

__all__ = ["Config", "ConfigWarning", "load_config"]
