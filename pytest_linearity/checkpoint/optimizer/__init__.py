"""The state of the optimizer that a training run has saved beside its weights."""
