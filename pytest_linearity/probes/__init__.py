"""The prompts that a checkpoint is measured on: from a config to batches of token ids."""
