"""The licensed world: enumerable sprites, composed shots, captions in five languages, a held-out split.

Everything is a function of a seed, so a data set is named by its seed.
"""
