"""Holding finished files against the rules of laws: what the confined reader saw of them, and what is known beside it.

Files of other people are welcome: rules about the installation that released them stay open then, which is no pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FiligranaError, InputError
from ..provenance.asked import Asked
from ..provenance.finding import Finding
from ..provenance.identity import AssetId
from ..provenance.labelling.measured import Measured, says_ai
from ..provenance.log.note import VerifierKey
from ..provenance.log.proof import LogProof
from ..provenance.records import OWN_CATALOG
from ..provenance.reports.duties import Needs
from ..provenance.reports.facts import FileFacts, HouseFacts
from ..provenance.reports.outcome import Outcome
from ..provenance.reports.rules import check
from .comply_house import lists_apart, refusals, retention, robustness, service

if TYPE_CHECKING:
    from .installation import Installation


@dataclass(frozen=True)
class Checked:
    """One file held against the chosen profiles. ``facts``: None for what could not be read."""

    file: str
    finding: Finding
    facts: FileFacts | None
    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        return self.facts is not None and all(o.status in ("pass", "none") for o in self.outcomes)

    @property
    def failed(self) -> bool:
        return self.facts is None or any(o.status == "fail" for o in self.outcomes)

    @property
    def assumed(self) -> bool:
        """Whether nothing in the file says how it was made: it is then held against the rules for what AI makes."""
        facts = self.facts
        said = facts is None or facts.said_types or facts.aigc or facts.said.get("declared")
        return not said and facts is not None and facts.ai


class Complying:
    """Checks files for one installation. ``proof`` and ``keys``: an inclusion proof and its log's keys, for files that
    were released elsewhere; ``report``: a robustness report instead of the one in use; ``reads``: whether labels are
    read by the text recogniser too."""

    def __init__(
        self,
        opened: Installation,
        needs: Needs,
        *,
        proof: Path | None = None,
        keys: Iterable[str] = (),
        report: Path | None = None,
        reads: bool = True,
    ) -> None:
        self._opened, self.needs, self._report, self._reads = opened, needs, report, reads
        self._proof = None if proof is None else _parsed(proof)
        self._keys = [VerifierKey.parse(key) for key in keys]
        if (proof is None) != (not self._keys):
            raise InputError("--proof goes with --log-key", code="input.option")

    def many(self, sources: Iterable[tuple[str, Path]]) -> Iterator[Checked]:
        for name, path in sources:
            yield self.one(name, path)

    def one(self, name: str, path: Path) -> Checked:
        finding = self._opened.inspector.verify(path, Asked(facts=True)).named(name)
        if finding.facts is None:
            return Checked(name, finding, None, ())
        facts = FileFacts.from_json(finding.facts)
        if self._reads and self.needs.visible is not None and finding.looked_at:
            facts = replace(facts, visible=seen_label(facts, finding.looked_at))
        return Checked(name, finding, facts, tuple(check(facts, self.needs, self._around(finding, facts))))

    def _around(self, finding: Finding, facts: FileFacts) -> HouseFacts:
        ours = (finding.record or {}).get("catalog") == OWN_CATALOG
        apart = lists_apart(self._opened.trust)
        proof = self._log_proof(facts, ours)
        report = robustness(self._report) if ours or self._report is not None else None
        if not ours:
            return HouseFacts(proof=proof, lists_apart=apart, robustness=report)
        return replace(
            self._house,
            answer=finding.as_dict(),
            proof=proof,
            lists_apart=apart,
            robustness=report,
        )

    @cached_property
    def _house(self) -> HouseFacts:
        opened = self._opened
        return HouseFacts(service=service(opened), retention=retention(opened), refusals=refusals(opened))

    def _log_proof(self, facts: FileFacts, ours: bool) -> tuple[bool, str] | None:
        if self._proof is not None:
            return _holds(self._proof, self._keys, facts)
        if not ours or facts.resolved is None:
            return None
        from .released import released_asset

        try:
            log = self._opened.log
            found = released_asset(log, AssetId.parse(facts.resolved))
            return _holds(LogProof.parse(log.prove(found.index, embed_entry=True)), log.keys, facts)
        except FiligranaError as error:
            return False, error.message


def _parsed(path: Path) -> LogProof:
    try:
        return LogProof.parse(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} cannot be read as a proof", code="input.proof") from error


def _holds(proof: LogProof, keys: Iterable[VerifierKey], facts: FileFacts) -> tuple[bool, str]:
    """Verified with keys and bytes alone, as anybody without a network would, and about these very bytes."""
    import json

    try:
        checkpoint = proof.verify(list(keys))
        entry = json.loads(proof.extra or b"")
    except (FiligranaError, ValueError, RecursionError) as error:
        return False, f"the proof does not hold: {getattr(error, 'message', 'its entry is no JSON')}"
    if not isinstance(entry, dict):
        return False, "the proof is of something that is no entry"
    if entry.get("type") != "release":
        return False, f"the proof is of an entry of type {str(entry.get('type'))[:20]}, not of a release"
    if entry.get("sha256") != facts.sha256:
        return False, "the proof is of other bytes than these"
    return True, f"entry {proof.index} in a signed tree of {checkpoint.size}"


def seen_label(facts: FileFacts, pictures: Iterable[tuple[float, bytes]]) -> Measured | None:
    """The visible label as a recogniser of text reads it, measured on the pixels: independent of what the file says
    of itself. Where it reads nothing, or is not installed, the label counts that the signed record claims, and that
    the pixels there were found to look like: the recogniser knows no Hangul."""
    from .guards import reader

    engine = reader()
    if engine is None:
        return facts.visible
    from ..provenance.labelling.measuring import measure
    from ..provenance.media.pictures import picture_from_bytes

    found: Measured | None = None
    for time, data in pictures:
        rgb = picture_from_bytes(data)
        read = [(_as_meant(text), box) for lines, box in engine.located(rgb, 960) for text in lines[:1]]
        here = [(text, box) for text, box in read if says_ai(text)]
        sized = [(text, box, size) for text, box in here if (size := measure(rgb, _wider(box))) is not None]
        if not sized:
            break
        _, box, size = max(sized, key=lambda one: one[2][0])
        # Shares hold for the whole file; the height in px is that of the file, not of this smaller copy.
        height_px = round(size[0] * min(facts.width, facts.height))
        words = tuple(text for text, _, _ in sized)
        left, top, right, bottom = box
        if found is None:
            found = Measured(size[0], height_px, size[2], time, words, "ocr", (left, top, right, bottom))
        else:
            found = replace(
                found, seconds=time, height=min(found.height, size[0]), contrast=min(found.contrast, size[2])
            )
    return found or facts.visible


def _as_meant(text: str) -> str:
    """A recogniser takes the capital I of AI for a small L where Latin letters follow."""
    return re.sub(r"\bA[l1|](?![a-z])", "AI", text)


def _wider(box: tuple[float, ...]) -> tuple[float, ...]:
    """A recogniser's box ends at the letters: the plate around them is what they are measured against."""
    left, top, right, bottom = box
    more = (bottom - top) * 0.12
    return left - more / 2, top - more, right + more / 2, bottom + more
