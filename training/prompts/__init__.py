"""Paired prompts for the prompt classifier: written by us, as labels for a defensive filter."""
