"""The three signature types of our notes: what exactly is signed, and how it is checked.

Pure, no IO. ``text`` is the note's text with its last newline; integers are big-endian.

====  =====================  ==========================================  =============================
type  name                   in the note's line, after the key id        what the key signs
====  =====================  ==========================================  =============================
0x01  Ed25519                signature (64)                              text
0x04  Ed25519 cosignature    time (8), signature (64)                    :func:`ed25519_message`
0x06  ML-DSA-44 cosignature  time (8), signature (2420)                  :func:`mldsa44_message`
====  =====================  ==========================================  =============================

0x01 is of c2sp.org/signed-note, the others of c2sp.org/tlog-cosignature. A time is in POSIX seconds.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ...errors import LogError, TamperError

try:
    from cryptography.hazmat.primitives.asymmetric import mldsa as mldsa  # exported to .signer
except ImportError:  # pragma: no cover - an older `cryptography`
    mldsa = None  # type: ignore[assignment]

ED25519 = 0x01
ED25519_COSIGNATURE = 0x04
MLDSA44_COSIGNATURE = 0x06
COSIGNATURES = (ED25519_COSIGNATURE, MLDSA44_COSIGNATURE)

PUBLIC_KEY_BYTES = {ED25519: 32, ED25519_COSIGNATURE: 32, MLDSA44_COSIGNATURE: 1312}
_SIGNATURE_BYTES = {ED25519: 64, ED25519_COSIGNATURE: 64, MLDSA44_COSIGNATURE: 2420}
MAX_TIME = 2**63 - 1
MAX_NAME_BYTES = 255
"""Of a cosigner's name and of an origin: both stand behind one length byte in :func:`mldsa44_message`."""

_LABEL = b"subtree/v1\n\x00"


def ed25519_message(text: bytes, time: int) -> bytes:
    """What an Ed25519 cosigner signs: two lines, then the whole text, extension lines included."""
    return b"cosignature/v1\ntime %d\n" % time + text


def mldsa44_message(cosigner: str, time: int, origin: str, size: int, root: bytes) -> bytes:
    """What an ML-DSA-44 cosigner signs of a checkpoint: the struct ``cosigned_message``, which starts at leaf 0.

    It names the cosigner and leaves extension lines out. Raises LogError (``log.note``) when a name does not
    fit behind its length byte.
    """
    names = [name.encode() for name in (cosigner, origin)]
    if any(not 1 <= len(name) <= MAX_NAME_BYTES for name in names):
        raise LogError("ML-DSA-44 cosignatures take names of 1 to 255 bytes", code="log.note")
    (cosigner_name, log_origin), start = names, 0
    return b"".join(
        (
            _LABEL,
            len(cosigner_name).to_bytes(1, "big") + cosigner_name,
            time.to_bytes(8, "big"),
            len(log_origin).to_bytes(1, "big") + log_origin,
            start.to_bytes(8, "big"),
            size.to_bytes(8, "big"),
            root,
        )
    )


def join_time(time: int, signature: bytes) -> bytes:
    """The struct ``timestamped_signature``."""
    return time.to_bytes(8, "big") + signature


def split_time(kind: int, blob: bytes) -> tuple[int, bytes]:
    """Time and signature of a ``timestamped_signature`` of this type. Raises TamperError on any other form."""
    if len(blob) != 8 + _SIGNATURE_BYTES[kind]:
        raise TamperError("a cosignature has the wrong length")
    time = int.from_bytes(blob[:8], "big")
    if time > MAX_TIME:
        raise TamperError("the time of a cosignature is beyond 2**63 - 1")
    return time, blob[8:]


def check(kind: int, public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the bare signature holds. Raises LogError (``log.mldsa``) where ML-DSA cannot be checked here."""
    if len(signature) != _SIGNATURE_BYTES[kind]:
        return False
    try:
        if kind == MLDSA44_COSIGNATURE:
            require_mldsa()
            mldsa.MLDSA44PublicKey.from_public_bytes(public_key).verify(signature, message)
        else:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except UnsupportedAlgorithm:
        raise _no_mldsa() from None
    except (InvalidSignature, ValueError):
        return False
    return True


def require_mldsa() -> None:
    """Raises LogError (``log.mldsa``) when the installed `cryptography` has no ML-DSA."""
    if mldsa is None:
        raise _no_mldsa()


def _no_mldsa() -> LogError:
    return LogError(
        "the installed `cryptography` has no ML-DSA-44, so such a signature can be neither made nor checked",
        code="log.mldsa",
        hint="Install a newer version: pip install --upgrade cryptography",
    )
