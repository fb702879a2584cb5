"""Adobe's TrustMark, variant Q, as a codec: used where the package `trustmark` (MIT) is installed with its weights.

T. Bui, S. Agarwal and J. Collomosse, *TrustMark: Robust Watermarking and Watermark Removal for Arbitrary Resolution
Images* (arXiv:2311.18297). It carries 100 bits; under its schema BCH_5 these are 61 bits of payload, 35 that mend up to
5 wrong ones, and 4 of version. Ours are a zero and the 60 bits of the AssetId. The name is entry 4 of the C2PA's list
of soft binding algorithms, and the value in a manifest is what other TrustMark readers look up: the schema's number, an
asterisk, the 61 bits.

The code is a poor witness: of random words, V(96, 5) / 2^35 = 1.9e-3 lie near enough to a codeword (2.1e-3 measured
over 93,016 words with the package's own decoder), a quarter of them with our schema's version, half of them with our
zero. So an unmarked picture gives an id once in 4,000: the p-value says that, and an id counts once it resolves to a
picture that shows the same.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import WatermarkError
from ..identity import BITS, AssetId
from ..media.values import Frame
from . import optional
from .base import Detection, Geometry

ALG = "com.adobe.trustmark.Q"
PACKAGE = "trustmark"
SCHEMA = 1  # BCH_5
CAPACITY = 61
_FILES = ("trustmark_Q.yaml", "encoder_Q.ckpt", "decoder_Q.ckpt")
_WHERE = "the package's folder models/"
_MAX_FRAMES = 8

CHANCE = sum(math.comb(96, i) for i in range(6)) / 2**35 / 4 / 2
"""Of one decode of unmarked media giving an id: 2.3e-4."""


def bits_of(asset_id: AssetId) -> str:
    """The 61 bits of payload: a zero and the id, most significant first."""
    return format(asset_id.value, f"0{CAPACITY}b")


def binding_value(asset_id: AssetId) -> str:
    """What stands in a manifest's soft binding."""
    return f"{SCHEMA}*{bits_of(asset_id)}"


def id_of(bits: str) -> AssetId | None:
    """The id in 61 bits of payload, None where they are not ours."""
    if len(bits) != CAPACITY or set(bits) - {"0", "1"} or bits[0] != "0":
        return None
    return AssetId(int(bits, 2) & (1 << BITS) - 1)


class TrustMark:
    """Codec port. ``key``: TrustMark has none, so an organisation's secret is refused. ``allow_download``: lets the
    package fetch its weights (about 100 MB) at first use."""

    alg = ALG
    binding_value = staticmethod(binding_value)

    def __init__(self, key: bytes | None = None, *, allow_download: bool = False) -> None:
        if key is not None:
            raise WatermarkError("TrustMark has no key: everybody reads and writes it", code="provenance.watermark.key")
        self._allow, self._model = allow_download, None

    def embed(self, frames: Iterable[Frame], asset_id: AssetId) -> Iterator[Frame]:
        """Yields each frame marked by itself. Raises WatermarkError where the package or its weights are missing."""
        model = self._ready()
        for frame in frames:
            with optional.quiet():
                marked = model.encode(Image.fromarray(frame.rgb), bits_of(asset_id), MODE="binary")
            yield replace(frame, rgb=np.asarray(marked.convert("RGB"), np.uint8))

    def detect(self, frames: Iterable[Frame]) -> Detection:
        """Of a clip, up to 8 frames vote; two have to agree where more than two were read."""
        started, model = time.perf_counter(), self._ready()
        votes: Counter[AssetId] = Counter()
        used = 0
        for frame in islice(frames, _MAX_FRAMES):
            used += 1
            with optional.quiet():
                bits, detected, version = model.decode(Image.fromarray(frame.rgb), MODE="binary")
            found = id_of(bits) if detected and version == SCHEMA else None
            if found is not None:
                votes[found] += 1
        best, count = votes.most_common(1)[0] if votes else (None, 0)
        hit = best is not None and count >= min(2, max(1, used - 1))
        return Detection(
            asset_id=best if hit else None,
            score=count / used if used else 0.0,
            # Frames of a clip err alike, so that a second vote adds no power of ten: one decode's chance, each try.
            p_value=min(1.0, used * CHANCE) if hit else 1.0,
            geometry=Geometry() if hit else None,
            seconds=time.perf_counter() - started,
            frames=used,
        )

    def _ready(self) -> Any:
        if self._model is None:
            folder = optional.folder_of(PACKAGE, PACKAGE) / "models"
            if not self._allow and any(not (folder / name).is_file() for name in _FILES):
                raise optional.no_weights(PACKAGE, ", ".join(_FILES), _WHERE)
            package = optional.load(PACKAGE, PACKAGE)
            if not self._allow:
                self._check_digests(folder)
            with optional.quiet():
                model = package.TrustMark(
                    verbose=False,
                    model_type="Q",
                    encoding_type=package.TrustMark.Encoding.BCH_5,
                    loadRemover=False,
                )
            # A download that failed leaves the package with None for a model, and no error.
            if getattr(model, "encoder", None) is None or getattr(model, "decoder", None) is None:
                raise optional.no_weights(PACKAGE, ", ".join(_FILES), _WHERE)
            self._model = model
        return self._model

    def _check_digests(self, folder: Path) -> None:
        """A file with another digest than the package expects is one that it would replace from the network."""
        expected = getattr(optional.load(f"{PACKAGE}.trustmark", PACKAGE), "MODEL_CHECKSUMS", {})
        for name in _FILES:
            with (folder / name).open("rb") as stream:
                found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            if name in expected and found != expected[name]:
                raise optional.no_weights(PACKAGE, f"{name} anew (it has another digest)", _WHERE)
