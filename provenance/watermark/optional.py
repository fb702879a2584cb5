"""What the adapters of other people's packages have in common: none is in the default install, and none may fetch.

These packages download their weights at first use, some without asking and some into their own folder. An adapter
therefore looks for the weights itself, before the package does, and refuses where they are missing, unless it was told
``allow_download=True``. They all run on torch, which provenance names nowhere: an adapter loads it by name, and only
once its package was found.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import WatermarkError
from .base import SoundBlock

MISSING = "provenance.watermark.not_installed"
NO_WEIGHTS = "provenance.watermark.no_weights"


def installed(module: str) -> bool:
    """Whether a package can be found. Imports nothing."""
    return importlib.util.find_spec(module) is not None


def folder_of(module: str, package: str) -> Path:
    """Where a package lies. Imports nothing. Raises WatermarkError with the pip command where there is none."""
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise not_installed(module, package)
    return Path(next(iter(found.submodule_search_locations)))


def load(module: str, package: str) -> ModuleType:
    """Imports a package. Raises WatermarkError with the pip command where it, or something that it needs, is absent."""
    if not installed(module.partition(".")[0]):
        raise not_installed(module, package)
    try:
        with quiet():
            return importlib.import_module(module)
    except ImportError as error:
        raise WatermarkError(
            f"{package} is installed but cannot be imported: {error}",
            code=MISSING,
            hint=f"pip install --force-reinstall {package}",
        ) from error


def not_installed(module: str, package: str) -> WatermarkError:
    return WatermarkError(
        f"this watermark needs the package {package}, which is not installed ({module})",
        code=MISSING,
        hint=f"pip install {package}",
    )


def no_weights(package: str, what: str, where: str) -> WatermarkError:
    return WatermarkError(
        f"{package} would fetch {what} from the network, and it was not told to",
        code=NO_WEIGHTS,
        hint=f"Put the files into {where}, or allow the download (allow_download=True).",
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing goes to standard output: with --json that belongs to the answer, and these packages greet on it."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def planar(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(h, w, 3) of 0..255 -> (1, 3, h, w) of 0..1."""
    return np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def packed(planes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The reverse of `planar`, rounded."""
    return np.asarray(np.clip(np.rint(planes[0].transpose(1, 2, 0) * 255), 0, 255), np.uint8)


class PresenceDetector(Protocol):
    """Says whether sound carries a maker's mark. It names no asset: never a soft binding, evidence only."""

    @property
    def alg(self) -> str:
        """Whose mark."""

    def present(self, block: SoundBlock) -> float:
        """How sure it is, 0 to 1, for one stretch of sound."""
