"""One part of the package at a time: no process, no pytest inside pytest, no drawing."""
