"""What the chosen profiles of laws ask of a release: labels on the way in, and the check of the finished bytes.

Nothing is released that does not fulfil them: a label that cannot be made is an error, and after signing the same rules
that an auditor runs (`filigrana comply check`) are run on the very bytes, as far as they are about the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import InputError, ReadBackError
from ..provenance.credentials import Credentials, read_credentials
from ..provenance.foreign import read_foreign
from ..provenance.labelling import audible
from ..provenance.labelling.aigc import Aigc, kept, producer_code
from ..provenance.labelling.places import read_all
from ..provenance.labelling.visible import Labeller, Wanted
from ..provenance.manifest import AI_SOURCE_TYPES, Statement
from ..provenance.media import Frame, Limits, MediaFile, SoundBlock, read_xmp
from ..provenance.reports.duties import Needs, builtin, needs_of
from ..provenance.reports.gathering import brought, gather
from ..provenance.reports.rules import GATE, check, refuses
from ..provenance.trust import TrustLists
from ..provenance.watermark.base import Detection
from .request import GenerateRequest, SealRequest

WAIVED = {"waived": "consent"}
"""What the record says of a visible label that was left out because whoever asked agreed to the duties that follow."""


@dataclass(frozen=True)
class ReleaseLabels:
    """``needs``: of the chosen profiles together; ``names``: as they were named, by id or path. ``language``: of the
    visible label. ``always``: it is drawn although no profile asks. ``producer``: the AIGC label's code, None to take
    the organisation's name. ``prompt_writer``: goes beside a published prompt."""

    needs: Needs = field(default_factory=Needs)
    language: str | None = None
    always: bool = False
    producer: str | None = None
    prompt_writer: str | None = None
    names: tuple[str, ...] = ()

    def beside(self, profiles: Iterable[str], labelled: bool) -> ReleaseLabels:
        """What one request asks for beside the settings: it may only ask for more. ``profiles``: ids of profiles that
        ship, since a request names no files of this machine. Raises InputError for another."""
        given = tuple(profiles)
        if len(set(given)) != len(given):
            raise InputError("a profile is named twice", code="input.profiles")
        more = [name for name in given if name not in self.needs.ids]
        if unknown := sorted(set(more) - set(builtin())):
            raise InputError(
                f"there is no profile {unknown[0][:40]!r}",
                code="input.profiles",
                hint=f"There are {', '.join(builtin())}.",
            )
        if not more and (self.always or not labelled):
            return self
        needs = self._of([*self.needs.ids, *more]) if more else self.needs
        return replace(self, needs=needs, names=(*self.names, *more), always=self.always or labelled)

    def _of(self, ids: Iterable[str]) -> Needs:
        """The needs of profiles by their ids; those of the settings may lie in files of their own."""
        named = dict(zip(self.needs.ids, self.names, strict=False))
        return needs_of([named.get(ident, ident) for ident in ids], self.language)

    @property
    def wanted(self) -> Wanted | None:
        if self.needs.visible is not None or not self.always:
            return self.needs.visible
        return Wanted(("AI",), 0.05, "top-right")

    def may_be_waived(self) -> None:
        """Raises InputError where a law, or the installation, lets nobody leave the visible label out."""
        if self.always:
            raise InputError(
                "this installation labels all AI-made work visibly",
                code="input.unlabelled",
                hint="Leave the consent out. The setting is `visible_label`.",
            )
        if not self.needs.profiles or not self.needs.waivable:
            named = ", ".join(self.needs.ids) or "none"
            raise InputError(
                f"the chosen profiles ({named}) do not let the visible label be left out",
                code="input.unlabelled",
                hint="Leave --unlabelled-consent out, or choose profiles that allow it (cn).",
            )

    def chosen(self, statement: Statement) -> None:
        """Raises ReadBackError where a file was made for fewer profiles than are chosen now: it waited meanwhile."""
        if missing := sorted(set(self.needs.ids) - set(statement.record.get("profiles") or [])):
            raise ReadBackError(
                f"it was made before the profiles {', '.join(missing)} were chosen", code="release.profile", hint=_HINT
            )

    def begin(
        self, statement: Statement, source: MediaFile | None, trust: TrustLists, limits: Limits, organisation: str
    ) -> Labelling:
        """The labels of one release. ``source``: what came in. Raises SettingsError, MediaError."""
        ai = statement.source_type in AI_SOURCE_TYPES
        said: dict[str, Any] = {}
        if self.needs.profiles:
            model = statement.model
            said = {
                "provider": organisation,
                "profiles": list(self.needs.ids),
                "declared": statement.source_type,
                "system": f"{model.name} {model.version}".strip() if model else f"Filigrana {statement.version}",
            }
        aigc = None
        if source is not None:
            before = read_credentials(source.path, source.info.mime, trust)
            packet = read_xmp(source.path, source.info.mime)
            had = brought(before, read_foreign(source.path, source.info.mime, packet, limits))
            if had and self.needs.profiles:
                said["source"] = {**statement.record.get("source", {}), "had": had}
            # What was labelled before keeps its producer, whether or not a profile asks for it.
            first = next((label for _, text in read_all(source.path, source.info.mime, packet, limits)
                          if (label := kept(text)) is not None), None)  # fmt: skip
            aigc = None if first is None or not self.needs.aigc else first
        if self.needs.aigc and ai:
            code, ident = self.producer or producer_code(organisation), str(statement.asset_id)
            aigc = Aigc.first(code, ident) if aigc is None else aigc.passed_on(code, ident)
        waived = statement.record.get("label") == WAIVED
        return Labelling(
            None if aigc is None or not ai else aigc.text(),
            Labeller(self.wanted) if self.wanted is not None and ai and not waived else None,
            self.needs.audible and ai and not waived,
            said,
        )

    def check(
        self,
        media: MediaFile,
        credentials: Credentials,
        statement: Statement,
        limits: Limits,
        found: Iterable[tuple[str, Detection | None]],
    ) -> None:
        """Holds the finished bytes against the profiles that they were made under. Raises ReadBackError
        (``release.profile``) for whatever fails, or could not be looked at."""
        names = statement.record.get("profiles") or []
        shown = "box" in (statement.record.get("label") or {})
        if not names and not shown:
            return
        needs = self.needs if tuple(names) == self.needs.ids else self._of(names)
        marks = [(alg, None if d.asset_id is None else str(d.asset_id)) for alg, d in found if d is not None]
        facts = gather(media, credentials, limits, marks, resolved=str(statement.asset_id))
        if shown and facts.visible is None:
            raise ReadBackError(
                "the visible label that it claims is not seen on the finished file", code="release.profile", hint=_HINT
            )
        if not names:
            return
        wrong = refuses(check(facts, replace(needs, rules=needs.rules | {"R1"}), only=GATE))
        if needs.layers >= 2 and not any(ident is not None for _, ident in facts.marks) and facts.ai:
            raise ReadBackError(_words(needs, ["two layers of marks are asked for, and it has one"]),
                                code="release.profile", hint=_HINT)  # fmt: skip
        if wrong:
            raise ReadBackError(
                _words(needs, [f"{one.rule}: {one.detail}" for one in wrong]), code="release.profile", hint=_HINT
            )


def labels_for(labels: ReleaseLabels, request: GenerateRequest | SealRequest, organisation: str) -> ReleaseLabels:
    """What the settings and the request ask for together. Raises InputError where the request may not ask for it,
    SettingsError where a label that it asks for has no name of who made it: before anything is made."""
    found = labels.beside(request.profiles, request.labelled)
    if request.unlabelled:
        found.may_be_waived()
    if found.needs.aigc and found.producer is None and (isinstance(request, GenerateRequest) or _made(request)):
        producer_code(organisation)
    return found


def _made(request: SealRequest) -> bool:
    return request.source_type in AI_SOURCE_TYPES


def told_labels(labels: ReleaseLabels, request: GenerateRequest | SealRequest) -> dict[str, Any]:
    """For the request's entry in the log. A consent names for how many days its record is kept, so that it outlasts
    a change of the settings, and profiles that this one request chose."""
    found: dict[str, Any] = {"profiles": list(request.profiles)} if request.profiles else {}
    if request.labelled:
        found["visible_label"] = "always"
    if request.unlabelled:
        found |= {"unlabelled": "consent", "keep_days": labels.needs.retention_days}
    return found


_HINT = "It was not released. Choose other profiles, or make it so that the rule can be fulfilled."


def _words(needs: Needs, reasons: list[str]) -> str:
    return f"the file does not fulfil the profiles {', '.join(needs.ids)} ({'; '.join(reasons)})"


@dataclass
class Labelling:
    """The labels of one release. ``aigc``: the label's text, None for none."""

    aigc: str | None
    labeller: Labeller | None
    audible: bool
    record: dict[str, Any]

    def seen(self, frames: Iterable[Frame]) -> Iterable[Frame]:
        return frames if self.labeller is None else self.labeller.frames(frames)

    def heard(self, blocks: Iterable[SoundBlock]) -> Iterator[SoundBlock]:
        return audible.labelled(blocks) if self.audible else iter(blocks)

    def kept(self, keep: dict[str, Any] | None) -> dict[str, Any] | None:
        """What is kept of a sealed picture: under the label it is opaque."""
        if keep is None or self.labeller is None or "alpha" not in keep:
            return keep
        return {**keep, "alpha": self.labeller.opaque(keep["alpha"])}

    def said(self) -> dict[str, Any]:
        """For the record in the manifest, once the label is drawn."""
        drawn = None if self.labeller is None else self.labeller.drawn
        shown = {} if drawn is None else {"label": drawn.record()}
        return {**self.record, **shown, **({"label": {"heard": "morse"}} if self.audible and drawn is None else {})}
