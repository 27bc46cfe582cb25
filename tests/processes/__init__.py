"""Whatever starts processes: xdist, torchrun, signals, kernels of notebooks."""
