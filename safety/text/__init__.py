"""Judging text: what a prompt says, in every way that it can be read."""
