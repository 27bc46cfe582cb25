"""A report against an earlier one: has the checkpoint become less linear?"""
