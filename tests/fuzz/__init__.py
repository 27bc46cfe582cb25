"""Fuzzers: damaged input is refused in one line, or measured for what it is."""
