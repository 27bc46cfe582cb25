"""A checkpoint: its files looked at, its config accepted or refused, its weights loaded."""
