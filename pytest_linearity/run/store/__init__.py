"""What was found out, kept: for other processes, for later runs, and for a run that was killed."""
