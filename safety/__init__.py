"""Safety judges: what may be asked, and what may be shown."""
