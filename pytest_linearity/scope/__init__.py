"""`param_scope`: which parameters a direction moves."""

from pytest_linearity.scope.match import ScopeMatch, match_scope, parameters_in_scope
from pytest_linearity.scope.parse import Scope, parse_scope
from pytest_linearity.scope.structure import transformer_blocks

__all__ = [
    "Scope",
    "ScopeMatch",
    "match_scope",
    "parameters_in_scope",
    "parse_scope",
    "transformer_blocks",
]
