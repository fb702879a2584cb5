"""Guard models of others, each as a text guard of :mod:`..judge`. Whatever is unexpected is an error, never a score."""
