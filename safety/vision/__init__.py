"""Judging pictures: what a frame shows."""
