"""Makes torch's neighbours import on a CPU build of torch beside PyPI's torchvision.

PyPI's torchvision is compiled for CUDA builds of torch; beside a CPU build its C++ operators are missing, and its
import fails with `operator torchvision::nms does not exist`, taking diffusers, transformers and open_clip down with
it. Declaring the two operator schemas first lets the Python part import; nothing here calls those operators.
"""

from __future__ import annotations

import os
import threading
from importlib.util import find_spec
from typing import Any

from ..errors import GenerationError

_lock = threading.Lock()
_keep: list[Any] = []
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def ready() -> None:
    """Call before importing diffusers, transformers or open_clip. Idempotent, safe for threads. Raises
    GenerationError where the extra `generate` is not installed."""
    with _lock:
        if _keep:
            return
        if find_spec("torch") is None:
            raise GenerationError(
                "torch is not installed",
                code="generate.not_installed",
                hint="pip install 'filigrana[generate]'",
            )
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import torch

        library = torch.library.Library("torchvision", "FRAGMENT")
        _keep.append(library)
        if find_spec("torchvision") is None:
            return
        try:
            import torchvision
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
            import sys

            for name in [m for m in sys.modules if m == "torchvision" or m.startswith("torchvision.")]:
                del sys.modules[name]
            for name, schema in _SCHEMAS.items():
                if not hasattr(torch.ops.torchvision, name):
                    library.define(schema)
            import torchvision  # noqa: F401
