"""The weights that ship: safetensors only, each beside its model card. Data, read through importlib.resources."""
