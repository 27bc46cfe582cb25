"""The measurement itself: any `nn.Module`, unit directions, radii -> figures of every pair.

Nothing here knows of pytest, of Hugging Face, of a config or of a report.
"""
