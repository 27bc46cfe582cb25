"""Speed, memory and exactness of the engine beside the literal method; run as a module."""
