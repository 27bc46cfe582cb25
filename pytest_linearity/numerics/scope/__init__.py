"""`param_scope`: which parameters a direction moves."""
