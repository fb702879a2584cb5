"""A witness of other people's logs (c2sp.org/tlog-witness): it cosigns a checkpoint only if the log has grown
from the one that it cosigned before.

Looking, deciding and writing happen under one lock, and the new state is safe on disk before a cosignature
leaves :meth:`Witness.add_checkpoint`. So a kill at any moment loses at most an answer, never what was promised.
A state folder that is lost, or put back from a backup, makes the witness forget: then it needs new keys.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import LogError, TamperError
from .cosignature import Cosigner, cosignature_line
from .merkle import EMPTY_ROOT, HASH_BYTES, verify_consistency
from .note import Checkpoint, Note, VerifierKey, _b64, _decimal, _unb64
from .signatures import (
    ED25519_COSIGNATURE,
    MAX_NAME_BYTES,
    MLDSA44_COSIGNATURE,
    PUBLIC_KEY_BYTES,
    require_mldsa,
)
from .signer import CosignerKey
from .witness_state import Seen, WitnessState, wrong

MAX_PROOF_HASHES = 63
SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"
_KEY_FILES = {"mldsa44.key": MLDSA44_COSIGNATURE, "ed25519.key": ED25519_COSIGNATURE}
_STATE = "state"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the witness says, as an HTTP status and body. 200: signature lines; 409 with ``SIZE_TYPE``: the
    size that it knows; else one sentence.
    """

    status: int
    body: str
    content_type: str = TEXT_TYPE


class Witness:
    """``keys``: all of one name. ``logs``: the keys of the logs to watch; a key's name is its log's origin.

    Raises LogError (``log.witness``) when they do not fit together.
    """

    def __init__(
        self,
        state: WitnessState,
        keys: Sequence[Cosigner],
        logs: Iterable[VerifierKey],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.keys = tuple(key.verifier_key for key in keys)
        self._cosigners = tuple(keys)
        self._state = state
        self._clock = clock
        self._logs: dict[str, list[VerifierKey]] = {}
        for key in logs:
            if key.kind == ED25519_COSIGNATURE:
                raise wrong("a log's key is of the type 0x01 or 0x06")
            if len(key.name.encode()) > MAX_NAME_BYTES:
                raise wrong("an origin has at most 255 bytes")
            known = self._logs.setdefault(key.name, [])
            if any(other.kind == key.kind and other != key for other in known):
                raise LogError(
                    f"two logs are named {key.name}: a witness cannot tell them apart",
                    code="log.witness",
                    hint="A log's name must be its own. Its Ed25519 and its ML-DSA-44 key may be given together.",
                )
            known.append(key)
        if len({key.name for key in self.keys}) != 1:
            raise wrong("a witness has at least one key, and all under one name")
        if self.keys[0].name in self._logs:
            raise wrong("a witness cannot watch a log of its own name")

    @classmethod
    def create(cls, folder: Path, name: str) -> tuple[VerifierKey, ...]:
        """New keys, ML-DSA-44 and Ed25519, and an empty state folder; never over old ones.

        Raises LogError, KeyStoreError. ``folder`` is then what :meth:`open` wants.
        """
        require_mldsa()
        for kind in _KEY_FILES.values():
            VerifierKey(name, bytes(PUBLIC_KEY_BYTES[kind]), kind)  # a name that cannot be is refused before a file is
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _STATE).mkdir(mode=0o700)
        except FileExistsError:
            raise wrong("there is a witness already: keys and state are never overwritten") from None
        except OSError as error:
            raise wrong(f"the folder cannot be made: {error.strerror}") from error
        return tuple(CosignerKey.create(folder / file, name, kind).verifier_key for file, kind in _KEY_FILES.items())

    @classmethod
    def open(cls, folder: Path, logs: Iterable[VerifierKey], clock: Callable[[], float] = time.time) -> Witness:
        """The witness whose keys and state are in ``folder``. Raises KeyStoreError, LogError."""
        keys = load_keys(folder)
        return cls(WitnessState(folder / _STATE, [key.verifier_key for key in keys]), keys, logs, clock)

    @property
    def origins(self) -> tuple[str, ...]:
        return tuple(self._logs)

    def answer(self, request: bytes) -> Answer:
        """To the body of a POST to ``add-checkpoint``. Raises LogError when the state cannot be read or kept."""
        try:
            old_size, proof, note = parse_request(request)
        except LogError as error:
            return _no(400, error.message)
        return self.add_checkpoint(old_size, proof, note)

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: str) -> Answer:
        """Cosigns ``note`` if ``proof`` shows that it extends the last cosigned tree, of ``old_size`` entries.

        Statuses, in the order of the specification: 400 malformed, 404 unknown origin, 403 not signed by the
        log, 400 old size above the new, 409 old size or root not the last cosigned, 422 proof does not hold.
        Raises LogError (``log.witness``) when the state cannot be read or kept: then nothing was promised.
        """
        try:
            parsed = Note.parse(note)
            new = Checkpoint.parse_text(parsed.text)
        except LogError as error:
            return _no(400, error.message)
        keys = self._logs.get(new.origin)
        if keys is None:
            return _no(404, "this witness does not watch the log")
        try:
            Checkpoint.open(note, keys)
        except TamperError as error:
            return _no(403, error.message)
        if old_size > new.size:
            return _no(400, "the old size is larger than the checkpoint's")
        ids = {(key.name, key.key_id) for key in keys}
        signed = Note(parsed.text, tuple(line for line in parsed.signatures if (line.name, line.key_id) in ids))
        with self._state.alone():
            return self._extend(old_size, proof, signed, new)

    def _extend(self, old_size: int, proof: Sequence[bytes], note: Note, new: Checkpoint) -> Answer:
        last = self._state.last(new.origin)
        size, root = (last.checkpoint.size, last.checkpoint.root) if last is not None else (0, EMPTY_ROOT)
        if old_size != size:
            return Answer(409, f"{size}\n", SIZE_TYPE)
        if last is not None and size == new.size and root != new.root:
            return _no(409, "this witness cosigned another root for that size")
        try:
            verify_consistency(size, root, new.size, new.root, proof)
        except TamperError as error:
            return _no(422, error.message)
        # Never earlier than it said before: its word is about the largest tree as of that time.
        now = max(int(self._clock()), last.time if last is not None else 1)
        lines = tuple(cosignature_line(note.text, cosigner, now) for cosigner in self._cosigners)
        self._state.keep(new.origin, str(Note(note.text, (*note.signatures, *lines))))
        return Answer(200, str(Note(note.text, lines))[len(note.text) + 1 :])

    def seen(self) -> tuple[Seen, ...]:
        """What was cosigned last of each log, by origin. Raises LogError when a file of the state is damaged."""
        return self._state.all()


def load_keys(folder: Path) -> tuple[CosignerKey, ...]:
    """The witness keys in a folder, ML-DSA-44 first. Raises KeyStoreError, LogError when there is none."""
    found = [folder / name for name in _KEY_FILES if (folder / name).exists()]
    if not found:
        raise wrong("there is no witness in this folder", "Make one: filigrana audit witness keygen")
    return tuple(CosignerKey.load(path) for path in found)


def read_state(folder: Path) -> tuple[tuple[VerifierKey, ...], tuple[Seen, ...]]:
    """Keys and state of the witness in ``folder``, for people to look at. Raises KeyStoreError, LogError."""
    keys = tuple(key.verifier_key for key in load_keys(folder))
    return keys, WitnessState(folder / _STATE, keys).all()


def parse_request(body: bytes) -> tuple[int, tuple[bytes, ...], str]:
    """Old size, consistency proof and note of an ``add-checkpoint`` request. Raises LogError (``log.note``)."""
    try:
        head, blank, note = body.decode("utf-8").partition("\n\n")
    except UnicodeDecodeError:
        raise LogError("the request is not UTF-8", code="log.note") from None
    first, *lines = head.split("\n")
    if not blank or not first.startswith("old "):
        raise LogError("a request reads 'old SIZE', the proof, an empty line and the checkpoint", code="log.note")
    if len(lines) > MAX_PROOF_HASHES:
        raise LogError(f"a proof has at most {MAX_PROOF_HASHES} hashes", code="log.note")
    proof = tuple(_unb64(line) for line in lines)
    if any(len(item) != HASH_BYTES for item in proof):
        raise LogError("a hash has 32 bytes", code="log.note")
    return _decimal(first[4:]), proof, note


def format_request(old_size: int, proof: Sequence[bytes], note: str) -> bytes:
    """The body of an ``add-checkpoint`` request."""
    return "".join((f"old {old_size}\n", *(f"{_b64(item)}\n" for item in proof), "\n", note)).encode()


def _no(status: int, message: str) -> Answer:
    return Answer(status, f"{message}\n")
