"""Marks that people see or hear, and China's label in metadata: made here, and read back from finished files."""
