"""*Filigrana Seal* for ComfyUI: what a workflow drew becomes a sealed file: judged, marked, signed, in the audit log.

Needs nothing but what ComfyUI has. Put this folder into `custom_nodes/` and see README.md.
"""

from .seal import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
