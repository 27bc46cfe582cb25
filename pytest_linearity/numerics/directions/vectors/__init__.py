"""Vectors over the parameters that a direction can be made of."""
