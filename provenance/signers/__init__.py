"""Whoever holds the claim-signing key: a file, a PKCS#11 token, a cloud's key service. `open_signer` chooses by URI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .algorithms import Algorithm, algorithm_of
    from .file import FileSigner
    from .opening import SignerSource, open_signer

_WHERE = {
    "Algorithm": "algorithms",
    "FileSigner": "file",
    "SignerSource": "opening",
    "algorithm_of": "algorithms",
    "open_signer": "opening",
}
__all__ = ["Algorithm", "FileSigner", "SignerSource", "algorithm_of", "open_signer"]


def __getattr__(name: str) -> Any:
    """Imported when they are asked for: settings name signers at every start, and need no cryptography for that."""
    if name not in _WHERE:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
