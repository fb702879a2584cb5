"""Where a worker's heavy parts run: in its own process, which is the default, or on the machines of a Ray cluster."""
