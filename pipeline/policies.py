"""Loading policy packs for use: a pack judges only after its own tests have passed, and only whole.

A process that runs for long notices a changed pack by its content. What is in force is always what lies there now:
where that is damaged, missing, unsigned or older than what was in force before, nothing is judged, and nothing made,
until it is put right. The pack of before is never used in its place.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from importlib import resources
from pathlib import Path

from ..errors import PolicyError
from ..provenance.log.note import VerifierKey
from ..safety.decision import Decision
from ..safety.judge import judge_text, run_cases
from ..safety.policy import MAX_BYTES, Pack, builtin_names, is_path, parse_pack, unknown_pack
from .policy_memory import PolicyMemory
from .policy_signatures import approved_by, parse_signers, read_signature
from .text_guards import CLASSIFIER, classifier


def read_pack(name_or_path: str) -> tuple[bytes, bytes | None]:
    """The bytes of a built-in pack or a file, and of the signature beside it. Raises PolicyError."""
    if name_or_path in builtin_names():
        return (resources.files("filigrana.safety") / "packs" / f"{name_or_path}.yaml").read_bytes(), None
    if not is_path(name_or_path):
        raise unknown_pack(name_or_path)
    path = Path(name_or_path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError(
            f"the policy pack cannot be read: {error.strerror}",
            code="policy.missing",
            hint="Nothing is judged until it is back, or the setting `policy` names another.",
        ) from error
    return data, read_signature(path)


def checked_pack(data: bytes, signature: bytes | None = None, signers: Iterable[VerifierKey] = ()) -> Pack:
    """The pack, parsed, signed by one of ``signers`` if there are any, and tested. Raises PolicyError otherwise."""
    pack = parse_pack(data)
    signers = tuple(signers)
    if signers:
        pack = replace(pack, ref=replace(pack.ref, approved_by=approved_by(pack.ref, signature, signers)))
    failed = run_cases(pack)
    if failed:
        rule, text, expected = failed[0]
        raise PolicyError(
            f"the policy pack {pack.ref.id} fails {len(failed)} of its own tests; first: rule {rule} "
            f"{'does not fire' if expected else 'fires'} on {text!r}",
            code="policy.tests",
        )
    return pack


def load_tested_pack(name_or_path: str, signers: Iterable[VerifierKey] = ()) -> Pack:
    """The pack of that name or path, as :func:`checked_pack`."""
    return checked_pack(*read_pack(name_or_path), signers)


class PolicyInForce:
    """The pack that judges now. ``memory``: where the newest version that was ever in force is kept; None: nowhere.

    Safe for threads. Whoever asked keeps the pack that they got: it is a value."""

    def __init__(self, name_or_path: str, signers: Iterable[str] = (), memory: PolicyMemory | None = None) -> None:
        self._name, self._signers, self._memory = name_or_path, parse_signers(signers), memory
        self._lock = threading.Lock()
        self._pack: Pack | None = None
        self._digest = b""

    def current(self) -> Pack:
        """Raises PolicyError, and judges nothing, while what lies there is no policy that may be in force."""
        data, signature = read_pack(self._name)
        digest = hashlib.sha256(hashlib.sha256(data).digest() + (signature or b"")).digest()
        with self._lock:
            if self._pack is None or digest != self._digest:
                self._pack, self._digest = None, b""  # should the new one fail, the old one is gone all the same
                self._pack, self._digest = checked_pack(data, signature, self._signers), digest
            pack = self._pack
        # Another process may have taken a newer one in force since.
        if self._memory is not None:
            self._memory.take(pack.ref)
        return pack


@lru_cache(maxsize=8)
def _followed(name: str) -> PolicyInForce:
    return PolicyInForce(name)


def judge_prompt(text: str, policy: str = "newsroom") -> Decision:
    """Judges a prompt by a policy pack (a built-in name or a path), without generating or recording anything."""
    pack = _followed(policy).current()
    return judge_text(text, pack, [classifier()] if CLASSIFIER in pack.requires.prompt else [])
