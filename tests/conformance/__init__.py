"""The engine against brute force on every causal-LM architecture of transformers."""
