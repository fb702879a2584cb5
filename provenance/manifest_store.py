"""A C2PA manifest store as bytes: JUMBF superboxes, of which one manifest can be taken out. Pure, no IO.

A superbox is ``jumb`` and holds a description ``jumd`` (16 bytes of type, a byte of toggles, the label with a zero),
then its content (ISO 19566-5; C2PA 2.4, "Embedding manifests"). Lengths are 4 bytes, big-endian, with their own 8.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import ManifestError

_HEAD = 8
_TYPE = 16
_LABELLED = 0b10
MAX_BOXES = 4096


def labels(store: bytes) -> list[str]:
    """The labels of the manifests in the store, in their order. Raises ManifestError when it is none."""
    return [label for label, _ in _manifests(store)]


def only(store: bytes, label: str) -> bytes:
    """A store with this manifest alone. Raises ManifestError when it is not in there."""
    description, _ = _opened(store)
    for name, box in _manifests(store):
        if name == label:
            return _boxed(description + box)
    raise ManifestError("the manifest is not in its store")


def _manifests(store: bytes) -> Iterator[tuple[str, bytes]]:
    _, content = _opened(store)
    for kind, box in _boxes(content):
        if kind == b"jumb":
            first = next(_boxes(box[_HEAD:]), None)
            label = _label(first[1]) if first is not None and first[0] == b"jumd" else None
            if label is not None:
                yield label, box


def _opened(store: bytes) -> tuple[bytes, bytes]:
    """The store's description box, and what follows it."""
    outer = next(_boxes(store), None)
    if outer is None or outer[0] != b"jumb":
        raise ManifestError("this is no C2PA manifest store")
    first = next(_boxes(outer[1][_HEAD:]), None)
    if first is None or first[0] != b"jumd" or _label(first[1]) != "c2pa":
        raise ManifestError("this is no C2PA manifest store")
    return first[1], outer[1][_HEAD + len(first[1]) :]


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, the whole box) one after the other."""
    at = 0
    for _ in range(MAX_BOXES):
        if at == len(data):
            return
        size = int.from_bytes(data[at : at + 4], "big")
        if size < _HEAD or at + size > len(data):
            raise ManifestError("a box of the manifest store is cut off")
        yield data[at + 4 : at + _HEAD], data[at : at + size]
        at += size
    raise ManifestError("the manifest store has too many boxes")


def _label(description: bytes) -> str | None:
    body = description[_HEAD:]
    if len(body) <= _TYPE or not body[_TYPE] & _LABELLED:
        return None
    name, end, _ = body[_TYPE + 1 :].partition(b"\0")
    return name.decode("utf-8", "replace") if end else None


def _boxed(content: bytes) -> bytes:
    return (len(content) + _HEAD).to_bytes(4, "big") + b"jumb" + content
