"""Results kept on disk as they come, so that a run that was killed goes on where it was."""
