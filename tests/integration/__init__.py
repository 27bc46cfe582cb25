"""The parts together: pytest inside pytest, the command line, pictures, the examples."""
