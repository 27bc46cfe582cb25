"""From the figures of all pairs to the verdict on each radius and on the checkpoint."""
