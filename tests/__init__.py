"""The tests, and what is run beside them: `conformance` and `benchmarks`."""
