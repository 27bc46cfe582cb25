"""Several processes that measure one run together, on torch's distributed runtime."""
