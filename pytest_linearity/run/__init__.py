"""One run: a checkpoint measured once, by one process or several, and reported once."""
