"""The embedded family: small models that ship with the package and draw the licensed sprite world."""

from __future__ import annotations

from ...torch_compat import ready

ready()
