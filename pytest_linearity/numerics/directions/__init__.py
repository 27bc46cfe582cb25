"""Unit directions in parameter space: what a checkpoint is moved along."""
