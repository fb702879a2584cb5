"""What the setting `signer` may say. Imports nothing: settings are read at every start."""

from __future__ import annotations

SCHEMES = ("awskms", "gcpkms", "azurekms", "hv", "file2")


def check_uri(uri: str) -> str:
    """What can be seen from the text alone. Raises ValueError."""
    scheme = uri.partition(":")[0]
    if uri != "file" and (scheme not in (*SCHEMES, "pkcs11") or ":" not in uri):
        raise ValueError(f"a signer is `file`, or a URI that begins with {', '.join(('pkcs11', *SCHEMES))}")
    return uri
