"""Fuzzers: whatever people write into files gives what it says, or one line that says why not."""
