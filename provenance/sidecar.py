"""Manifest stores that lie beside their file, as `<stem>.c2pa` (C2PA specification 2.4, section 11.4), for formats that
have no place for one, and for files over the size up to which one is embedded."""

from __future__ import annotations

from pathlib import Path

from ..errors import ManifestError

SUFFIX = ".c2pa"
MAX_BYTES = 64 << 20
"""A larger store is not read: ours have 15 kB, and one with a long history of ingredients a few MB."""


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of ``path`` lies, if it has one."""
    return path.with_suffix(SUFFIX)


def sidecar_of(path: Path) -> Path | None:
    """The sidecar that lies beside ``path``, or None. A file is no sidecar of its own."""
    found = sidecar_path(path)
    return found if found != path and found.is_file() else None


def read_sidecar(path: Path) -> bytes:
    """The manifest store in a sidecar. Raises ManifestError where it cannot be read or is over 64 MiB."""
    try:
        with path.open("rb") as stream:
            store = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"{path.name} cannot be read: {error.strerror}", code="provenance.sidecar") from error
    if len(store) > MAX_BYTES:
        raise ManifestError(f"{path.name} is larger than {MAX_BYTES >> 20} MiB", code="provenance.sidecar")
    return store
