"""The lockstep engine: all evaluations of a model together, one parameter at a time.

Every evaluation is the model's own forward, run as a coroutine. It is suspended where it uses a
parameter; once all evaluations wait for the same one, that parameter is read, widened and moved to
the device once, each direction's part of it is drawn once, and every evaluation gets what it asked
for: the parameter, its dual number, its perturbed value, or only the product with it. Nothing is
written into the model, and memory never holds more than a slice of one parameter at a time.
"""
