"""Metrics: what a predicted change of the logits is held against the true one by.

Nothing here imports torch, so that a config can be checked without it: whatever a metric does to
tensors it does by their methods.
"""
