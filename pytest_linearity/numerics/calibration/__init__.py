"""A small part of the work, done first: can a model be measured, and what may be shared?"""
