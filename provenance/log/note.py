"""Signed notes and checkpoints (c2sp.org/signed-note, c2sp.org/tlog-checkpoint).

Pure, no IO. A checkpoint is the log's signed tree head::

    example.com/log            origin: the log's name, which is also its key's name
    20852163                   number of entries
    CsUYapGG...                root hash, base64

    — example.com/log Az3g...  signature over the text above the blank line
    — witness.example/w1 jWb.. a cosignature, see :mod:`.cosignature`

A malformed text raises LogError (``log.note``), a signature that does not hold TamperError.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from ...errors import LogError, TamperError
from .merkle import HASH_BYTES
from .signatures import (
    COSIGNATURES,
    ED25519,
    ED25519_COSIGNATURE,
    MAX_NAME_BYTES,
    MLDSA44_COSIGNATURE,
    PUBLIC_KEY_BYTES,
    check,
    ed25519_message,
    mldsa44_message,
    split_time,
)

MAX_NOTE_BYTES = 1 << 20
MAX_SIGNATURES = 64
_MAX_SIZE = 2**63 - 1


class NoteSigner(Protocol):
    """Whoever signs notes: ``name`` without spaces or plus, an Ed25519 ``public_key`` of 32 bytes."""

    @property
    def name(self) -> str: ...

    @property
    def public_key(self) -> bytes: ...

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature (RFC 8032) over ``message``."""
        ...


@dataclass(frozen=True, slots=True)
class Renamed:
    """A signer under a name of its own (its name and ``suffix``): what it signs so passes for nothing else."""

    inner: NoteSigner
    suffix: str

    @property
    def name(self) -> str:
        return self.inner.name + self.suffix

    @property
    def public_key(self) -> bytes:
        return self.inner.public_key

    def sign(self, message: bytes) -> bytes:
        return self.inner.sign(message)


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A key that notes are checked with. Its text, ``name+keyid+base64``, is what auditors exchange.

    ``kind``: the signature type, see :mod:`.signatures`; logs have 0x01 or 0x06, witnesses 0x04 or 0x06.
    """

    name: str
    public_key: bytes
    kind: int = ED25519

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.kind not in PUBLIC_KEY_BYTES:
            raise _malformed(f"keys of the signature type {self.kind:#04x} are not known")
        if len(self.public_key) != PUBLIC_KEY_BYTES[self.kind]:
            raise _malformed(f"a public key of this type has {PUBLIC_KEY_BYTES[self.kind]} bytes")
        if self.kind == MLDSA44_COSIGNATURE and len(self.name.encode()) > MAX_NAME_BYTES:
            raise _malformed("the name of an ML-DSA-44 key has at most 255 bytes")

    @property
    def key_id(self) -> bytes:
        """4 bytes: ``SHA-256(name || 0x0A || type || public key)[:4]``."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_b64(bytes([self.kind]) + self.public_key)}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        parts = text.strip().split("+", 2)
        if len(parts) != 3:
            raise _malformed("a verifier key reads name+id+base64")
        blob = _unb64(parts[2])
        if not blob:
            raise _malformed("the verifier key is empty")
        key = cls(parts[0], blob[1:], blob[0])
        if key.key_id.hex() != parts[1]:
            raise _malformed("the verifier key does not match its id")
        return key

    @classmethod
    def of(cls, signer: NoteSigner) -> VerifierKey:
        return cls(signer.name, signer.public_key)

    def verify(self, message: bytes, signature: bytes) -> int | None:
        """The time of a cosignature in POSIX seconds (0: it states none); None when this type has no time.

        ``message``: the text of the note. Raises TamperError unless ``signature`` is this key's over it,
        LogError (``log.mldsa``) where ML-DSA-44 cannot be checked.
        """
        time = None
        if self.kind in COSIGNATURES:
            time, signature = split_time(self.kind, signature)
            message = self.cosigned_message(message, time)
        if not check(self.kind, self.public_key, signature, message):
            raise TamperError(f"the signature of {self.name} does not hold")
        return time

    def cosigned_message(self, text: bytes, time: int) -> bytes:
        """What this cosigner signs at ``time`` for the note over ``text``. Raises TamperError when an ML-DSA-44
        key is asked about a text that is no checkpoint: it signs nothing else.
        """
        if self.kind == ED25519_COSIGNATURE:
            return ed25519_message(text, time)
        try:
            head = Checkpoint.parse_text(text.decode())
            return mldsa44_message(self.name, time, head.origin, head.size, head.root)
        except (LogError, UnicodeDecodeError):
            raise TamperError(f"{self.name} cannot have cosigned this: it is no checkpoint") from None


@dataclass(frozen=True, slots=True)
class Signature:
    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """``text`` ends in a newline and is what the signatures are over."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, note: str) -> Note:
        """Strict: the form of the specification, canonical base64, at most 1 MiB and 64 signatures."""
        if len(note.encode("utf-8", "surrogatepass")) > MAX_NOTE_BYTES:
            raise _malformed("the note is larger than 1 MiB")
        if any((char < " " and char != "\n") or "\ud800" <= char <= "\udfff" for char in note):
            raise _malformed("the note has control characters")
        cut = note.rfind("\n\n")
        if cut < 0 or not note.endswith("\n"):
            raise _malformed("the note has no signatures")
        lines = note[cut + 2 : -1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise _malformed(f"the note has more than {MAX_SIGNATURES} signatures")
        return cls(note[: cut + 1], tuple(_signature(line) for line in lines))

    def __str__(self) -> str:
        lines = (f"— {item.name} {_b64(item.key_id + item.signature)}\n" for item in self.signatures)
        return f"{self.text}\n{''.join(lines)}"

    def verified_by(self, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
        """Those of ``keys`` that signed. Raises TamperError when one's signature fails, or none signed."""
        known = {(key.name, key.key_id): key for key in keys}
        found: dict[VerifierKey, None] = {}
        for item in self.signatures:
            key = known.get((item.name, item.key_id))
            if key is not None:
                key.verify(self.text.encode(), item.signature)
                found[key] = None
        if not found:
            raise TamperError("the note is signed by no known key")
        return tuple(found)


def sign(text: str, signer: NoteSigner) -> str:
    """The signed note over ``text``, which must end in a newline."""
    if not text.endswith("\n"):
        raise _malformed("the text of a note ends in a newline")
    key = VerifierKey.of(signer)
    signature = signer.sign(text.encode())
    key.verify(text.encode(), signature)  # a token or service that signs wrongly is noticed here
    return str(Note(text, (Signature(key.name, key.key_id, signature),)))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: ``size`` entries with ``root`` (32 bytes), of the log named ``origin``."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in (self.origin, self.size, _b64(self.root), *self.extensions))

    @classmethod
    def parse_text(cls, text: str) -> Checkpoint:
        """From the text of a note. Nothing is verified here."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines):
            raise _malformed("a checkpoint has an origin, a size and a root")
        size = _decimal(lines[1])
        root = _unb64(lines[2])
        if len(root) != HASH_BYTES:
            raise _malformed("the root of a checkpoint has 32 bytes")
        return cls(lines[0], size, root, tuple(lines[3:]))

    @classmethod
    def open(cls, note: str, keys: Iterable[VerifierKey]) -> Checkpoint:
        """The checkpoint of ``note``, signed by one of ``keys`` whose name is its origin (else
        TamperError).

        An Ed25519 cosignature is a witness's word, never the log's. ML-DSA-44 leaves extension lines
        unsigned: a checkpoint that has some needs an Ed25519 signature.
        """
        parsed = Note.parse(note)
        signed_by = parsed.verified_by(keys)
        checkpoint = cls.parse_text(parsed.text)
        kinds = {key.kind for key in signed_by if key.name == checkpoint.origin} - {ED25519_COSIGNATURE}
        if not kinds:
            raise TamperError("the checkpoint names another log than the key that signed it")
        if checkpoint.extensions and ED25519 not in kinds:
            raise TamperError("nobody signed the extension lines of the checkpoint")
        return checkpoint

    def sign(self, signer: NoteSigner) -> str:
        """The signed note; the origin must be the signer's name."""
        if signer.name != self.origin:
            raise LogError("a checkpoint is signed under its own origin", code="log.note")
        return sign(self.text, signer)


def _signature(line: str) -> Signature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—":
        raise _malformed("a signature line reads '— name base64'")
    _check_name(parts[1])
    blob = _unb64(parts[2])
    if len(blob) < 5:
        raise _malformed("a signature is shorter than its key id")
    return Signature(parts[1], blob[:4], blob[4:])


def _check_name(name: str) -> None:
    if not name or "+" in name or any(char.isspace() or char < " " for char in name):
        raise _malformed("the name of a key has no spaces and no plus")


def _decimal(text: str) -> int:
    """ASCII decimal without sign or leading zeroes."""
    if not (text.isascii() and text.isdigit()) or (text[0] == "0" and text != "0") or len(text) > 19:
        raise _malformed("a size is a decimal number without leading zeroes")
    value = int(text)
    if value > _MAX_SIZE:
        raise _malformed("a size is below 2**63")
    return value


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    """Canonical base64 only: one text for one value, so that no byte of a note can be changed unseen."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _malformed("broken base64") from None
    if _b64(data) != text:
        raise _malformed("base64 that is not canonical")
    return data


def _malformed(message: str) -> LogError:
    return LogError(message, code="log.note", hint="Expected: c2sp.org/signed-note and c2sp.org/tlog-checkpoint.")
