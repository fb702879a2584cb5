"""Who takes part in a bench: our codecs from the registry, and other people's packages for comparison.

A peer is used here only, never for an asset. None of the peers tells whether a picture is marked at all: they
answer with bits whatever they are shown. So a peer's answer is right when every bit is right, and a wrong answer is
no false claim.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import FiligranaError
from ...provenance.identity import AssetId
from ...provenance.media.values import Frame
from .pictures import RGB


@dataclass(frozen=True, slots=True)
class Answer:
    """``found``: the id that was read, None where nothing was claimed. ``exact``: it is the id that was put in."""

    found: AssetId | None
    exact: bool
    score: float
    p_value: float


class Contestant(Protocol):
    """What the bench needs of a codec for pictures."""

    @property
    def name(self) -> str:
        """How the report calls it."""

    @property
    def bits(self) -> int:
        """How many bits of payload it carries."""

    @property
    def claims(self) -> bool:
        """Whether it can say that there is no mark."""

    def embed(self, rgb: RGB, asset_id: AssetId) -> RGB:
        """The picture, marked."""

    def detect(self, rgb: RGB, truth: AssetId | None) -> Answer:
        """What it reads. ``truth`` is only compared with."""


@dataclass(frozen=True)
class Port:
    """A codec of the registry (or any object with its port)."""

    codec: Any
    bits: int = 64
    claims: bool = True

    @property
    def name(self) -> str:
        return str(self.codec.alg)

    def embed(self, rgb: RGB, asset_id: AssetId) -> RGB:
        return next(iter(self.codec.embed([Frame(rgb)], asset_id))).rgb  # type: ignore[no-any-return]

    def detect(self, rgb: RGB, truth: AssetId | None) -> Answer:
        found = self.codec.detect([Frame(rgb)])
        exact = truth is not None and found.asset_id == truth
        return Answer(found.asset_id, exact, float(found.score), float(found.p_value))


def _bits(asset_id: AssetId, count: int) -> NDArray[np.uint8]:
    """The id's lowest ``count`` bits (4 zero bits in front of it for 64), most significant first."""
    return np.array([asset_id.value >> shift & 1 for shift in range(count - 1, -1, -1)], np.uint8)


@dataclass(frozen=True)
class Package:
    """A peer that writes and reads raw bits."""

    name: str
    bits: int
    write: Callable[[RGB, NDArray[np.uint8]], RGB]
    read: Callable[[RGB, int], NDArray[np.uint8]]
    claims: bool = False

    def embed(self, rgb: RGB, asset_id: AssetId) -> RGB:
        return np.asarray(self.write(rgb, _bits(asset_id, self.bits)), np.uint8)

    def detect(self, rgb: RGB, truth: AssetId | None) -> Answer:
        try:
            read = np.asarray(self.read(rgb, self.bits)).astype(np.uint8)
        except Exception:  # noqa: BLE001  packages raise anything for a picture that they cannot read: not found
            return Answer(None, False, 0.0, 1.0)
        wanted = None if truth is None else _bits(truth, self.bits)
        right = wanted is not None and read.shape == wanted.shape
        agreement = float(np.mean(read == wanted)) if right else 0.5
        return Answer(truth if agreement == 1.0 else None, agreement == 1.0, agreement, 1.0)


def _invisible(method: str, bits: int) -> Package:
    def load() -> Any:
        if find_spec("imwatermark") is None:
            raise FiligranaError(
                "invisible-watermark is not installed", code="bench.peer", hint="pip install 'filigrana[generate]'"
            )
        from ..torch_compat import ready

        ready()
        imwatermark = import_module("imwatermark")
        if method == "rivaGan":
            imwatermark.WatermarkEncoder.loadModel()
        return imwatermark

    def write(rgb: RGB, payload: NDArray[np.uint8]) -> RGB:
        encoder = load().WatermarkEncoder()
        encoder.set_watermark("bits", payload.tolist())
        # The package works in OpenCV's channel order.
        marked = encoder.encode(np.ascontiguousarray(rgb[..., ::-1]), method)
        return np.ascontiguousarray(np.asarray(marked)[..., ::-1], np.uint8)

    def read(rgb: RGB, count: int) -> NDArray[np.uint8]:
        decoder = load().WatermarkDecoder("bits", count)
        return np.array(decoder.decode(np.ascontiguousarray(rgb[..., ::-1]), method), np.uint8)

    return Package(f"invisible-watermark {method}", bits, write, read)


def _blind() -> Package:
    def make() -> Any:
        if find_spec("blind_watermark") is None:
            raise FiligranaError(
                "blind-watermark is not installed", code="bench.peer", hint="pip install blind-watermark"
            )
        with contextlib.redirect_stdout(io.StringIO()):  # it greets on standard output
            return import_module("blind_watermark").WaterMark(password_img=1, password_wm=1)

    def write(rgb: RGB, payload: NDArray[np.uint8]) -> RGB:
        marker = make()
        marker.read_img(img=np.ascontiguousarray(rgb[..., ::-1]))
        marker.read_wm(payload.astype(bool).tolist(), mode="bit")
        marked = np.clip(np.rint(marker.embed()), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(marked[..., ::-1])

    def read(rgb: RGB, count: int) -> NDArray[np.uint8]:
        values = make().extract(embed_img=np.ascontiguousarray(rgb[..., ::-1]), wm_shape=count, mode="bit")
        return (np.asarray(values) > 0.5).astype(np.uint8)

    return Package("blind-watermark", 64, write, read)


PEERS: dict[str, Callable[[], Package]] = {
    "dwtDct": lambda: _invisible("dwtDct", 64),
    "rivaGan": lambda: _invisible("rivaGan", 32),
    "blind-watermark": _blind,
}
"""By the name that `--codec` takes. `Package`s import their library at the first picture."""
_MODULES = {"dwtDct": "imwatermark", "rivaGan": "imwatermark", "blind-watermark": "blind_watermark"}


def installed_peers() -> list[str]:
    return [name for name, module in _MODULES.items() if find_spec(module) is not None]


def own_codecs() -> list[str]:
    """The algorithms of the registry that mark pictures, the default first."""
    from ...provenance.watermark import registry

    algs = [codec.alg for codec in registry.all_codecs()]
    return sorted(dict.fromkeys(algs), key=lambda alg: alg != registry.DEFAULT)


@cache
def contestant(name: str, key: bytes | None = None) -> Contestant:
    """By the registry's name, or a peer's. ``key``: for our own codecs, None for the published one."""
    if name in PEERS:
        return PEERS[name]()
    from ...provenance.watermark.registry import codec

    return Port(codec(name, key))
