"""The robustness bench: which marks survive what. Importing it loads neither torch nor a plotting library."""
