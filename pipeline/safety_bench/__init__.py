"""How well prompts are judged: by hazard and language, under evasions, on harmless look-alikes, and how fairly."""
