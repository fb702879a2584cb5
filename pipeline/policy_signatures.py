"""Who approved a policy pack: a signed note (c2sp.org/signed-note) beside it, PACK.sig, with Ed25519 signatures.

The text of the note names the pack's id, version and sha256 under a first line of its own, so that no key's signature
under anything else, such as a checkpoint, ever counts as an approval. Several may sign. A signature that does not hold,
or is under another pack, is an error even where another one is good.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import FiligranaError, PolicyError
from ..provenance.durable import write_file
from ..provenance.log.note import Note, NoteSigner, Signature, VerifierKey, sign
from ..provenance.log.signatures import ED25519
from ..safety.decision import PolicyRef

FIRST_LINE = "filigrana.org/policy-approval/v1"
MAX_SIGNATURE = 64 << 10


def signature_path(pack: Path) -> Path:
    return pack.with_name(pack.name + ".sig")


def approval(ref: PolicyRef) -> str:
    """The text that is signed."""
    return f"{FIRST_LINE}\n{ref.id} {ref.version}\nsha256 {ref.digest}\n"


def parse_signers(texts: Iterable[str]) -> tuple[VerifierKey, ...]:
    """Verifier keys, `name+id+base64`. Raises ValueError."""
    keys = []
    for text in texts:
        try:
            key = VerifierKey.parse(text)
        except FiligranaError as error:
            raise ValueError(f"{text[:40]!r} is no verifier key: {error.message}") from None
        if key.kind != ED25519:
            raise ValueError(f"the key of {key.name} is not an Ed25519 key for notes")
        keys.append(key)
    if len({str(key) for key in keys}) != len(keys):
        raise ValueError("a signer is named twice")
    return tuple(keys)


def sign_pack(ref: PolicyRef, signer: NoteSigner, before: bytes | None = None) -> bytes:
    """The signature file. ``before``: the one that is there: the signatures of others on this same pack are kept."""
    mine = Note.parse(sign(approval(ref), signer))
    kept: tuple[Signature, ...] = ()
    if before is not None:
        try:
            old = Note.parse(before.decode("utf-8"))
        except (FiligranaError, UnicodeDecodeError):
            raise PolicyError(
                "the signature file beside the pack is damaged",
                code="policy.signature",
                hint="Remove it, and sign again.",
            ) from None
        if old.text == mine.text:
            own = {(one.name, one.key_id) for one in mine.signatures}
            kept = tuple(one for one in old.signatures if (one.name, one.key_id) not in own)
    return str(Note(mine.text, (*kept, *mine.signatures))).encode()


def approved_by(ref: PolicyRef, signature: bytes | None, trusted: Iterable[VerifierKey]) -> tuple[str, ...]:
    """Those of ``trusted`` who signed this pack, as verifier keys. Raises PolicyError (``policy.unsigned``,
    ``policy.signature``) unless at least one did."""
    if signature is None:
        raise PolicyError(
            f"the policy pack {ref.id} {ref.version} is not signed",
            code="policy.unsigned",
            hint="Somebody whom the setting policy_signers names signs it: `filigrana policy sign`.",
        )
    try:
        note = Note.parse(signature.decode("utf-8"))
        if note.text != approval(ref):
            raise PolicyError(
                f"the signature beside the policy pack {ref.id} {ref.version} is for another pack",
                code="policy.signature",
                hint="The pack was changed after it was signed: have it signed again.",
            )
        return tuple(str(key) for key in note.verified_by(trusted))
    except PolicyError:
        raise
    except (FiligranaError, UnicodeDecodeError) as error:
        why = error.message if isinstance(error, FiligranaError) else "it is not text"
        raise PolicyError(
            f"the signature of the policy pack {ref.id} {ref.version} does not count: {why}",
            code="policy.signature",
            hint="Look at the setting policy_signers, and at who signed.",
        ) from error


def read_signature(pack: Path) -> bytes | None:
    """The signature file beside ``pack``; None where there is none. Raises PolicyError."""
    try:
        with signature_path(pack).open("rb") as stream:
            data = stream.read(MAX_SIGNATURE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PolicyError(f"the pack's signature cannot be read: {error.strerror}", code="policy.signature") from error
    if len(data) > MAX_SIGNATURE:
        raise PolicyError("the pack's signature file is too large", code="policy.signature")
    return data


def write_signature(pack: Path, data: bytes) -> Path:
    """Whole or not at all."""
    target = signature_path(pack)
    try:
        write_file(target, data)
    except OSError as error:
        raise PolicyError(f"the signature cannot be written: {error.strerror}", code="policy.signature") from error
    return target
