"""Which past requests another pack would decide differently.

A prompt that is still kept is opened and judged again. One that was erased or has expired is judged by what the log
says of it, as far as that goes: scores against the new thresholds, and rules of terms that have not changed since.
Pictures are judged by their recorded scores. What cannot be told is counted as such, and never taken for “the same”.
Nothing is written, and no prompt is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ..errors import FiligranaError, InputError
from ..provenance.database import session
from ..provenance.log.search import Query
from ..provenance.log.sequencer import AuditLog
from ..provenance.tables import Intent
from ..provenance.vault import Vault
from ..safety.decision import Verdict
from ..safety.judge import DEFAULT_TIMEOUT, TextGuard, judge_text
from ..safety.policy import Pack, Rule


@dataclass(frozen=True, slots=True)
class Outcome:
    """One side of one request. ``how``: `judged` (again), `scores` (by what was recorded) or `unknown`. ``why``: the
    rules that would decide, or why it cannot be told."""

    intent: str
    time: str
    side: str
    policy: str
    before: str
    after: str | None
    how: str
    why: tuple[str, ...]

    @property
    def differs(self) -> bool:
        return self.after is not None and self.after != self.before

    def as_dict(self) -> dict[str, Any]:
        return {
            "request": self.intent,
            "time": self.time,
            "side": self.side,
            "policy": self.policy,
            "before": self.before,
            "after": self.after,
            "how": self.how,
            "why": list(self.why),
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """``unknown``: by reason."""

    decisions: int
    judged: int
    by_scores: int
    unknown: Mapping[str, int]
    different: tuple[Outcome, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "decisions": self.decisions,
            "judged_again": self.judged,
            "by_recorded_scores": self.by_scores,
            "not_replayable": dict(self.unknown),
            "different": [outcome.as_dict() for outcome in self.different],
        }


def summary(outcomes: Iterable[Outcome]) -> Summary:
    how: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    different = []
    for outcome in outcomes:
        how[outcome.how] += 1
        if outcome.after is None:
            unknown[outcome.why[0]] += 1
        elif outcome.differs:
            different.append(outcome)
    return Summary(how.total(), how["judged"], how["scores"], dict(sorted(unknown.items())), tuple(different))


def replay_policy(
    log: AuditLog,
    pack: Pack,
    guards: Sequence[TextGuard] = (),
    known: Iterable[Pack] = (),
    *,
    since: str | None = None,
    until: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Iterator[Outcome]:
    """``known``: packs that may have judged then, by whose rules of terms a record can be read. ``since``, ``until``:
    as in :class:`~.log.search.Query`. Each request counts once a side, by its last decision."""
    by_digest = {one.ref.digest: one for one in known}
    last: dict[tuple[str, str], dict[str, Any]] = {}
    accepted: set[str] = set()
    for _, entry in log.search(Query(type="decision", since=since, until=until)):
        decision, intent = entry.get("decision"), entry.get("intent")
        if (
            not isinstance(decision, dict)
            or not isinstance(intent, str)
            or decision.get("side") not in ("prompt", "output")
        ):
            continue
        if "accepted" in decision:
            accepted.add(intent)
        last[intent, decision["side"]] = entry
    for (intent, side), entry in last.items():
        yield _one(log, pack, guards, by_digest, intent, side, entry, intent in accepted, timeout)


def _one(
    log: AuditLog,
    pack: Pack,
    guards: Sequence[TextGuard],
    known: Mapping[str, Pack],
    intent: str,
    side: str,
    entry: dict[str, Any],
    rewritten: bool,
    timeout: float,
) -> Outcome:
    decision = entry["decision"]
    ref = decision.get("policy") or {}
    told = (intent, str(entry.get("time")), side, f"{ref.get('id')} {ref.get('version')}", str(decision.get("verdict")))
    why: str | None = None
    if side == "prompt":
        try:
            texts = _texts(log, intent, rewritten)
            decided = [judge_text(text, pack, guards, timeout=timeout) for text in texts]
            worst = max(decided, key=lambda one: one.verdict)
            rules = tuple(hit.rule for one in decided for hit in one.hits)
            return Outcome(*told, worst.verdict.word, "judged", rules)
        except FiligranaError as error:
            why = error.code
    where = "sealed" if side == "output" and _sealed(log, intent) else side
    after, reasons = by_record(decision, where, pack, known.get(str(ref.get("digest"))))
    if after is None:
        return Outcome(*told, None, "unknown", (reasons[0] if why is None else f"{why}; {reasons[0]}",))
    return Outcome(*told, after.word, "scores", reasons)


def _sealed(log: AuditLog, intent: str) -> bool:
    with session(log.engine) as opened:
        try:
            row = opened.get(Intent, UUID(intent))
        except ValueError:
            return False
        return row is not None and row.kind == "seal"


def _texts(log: AuditLog, intent: str, rewritten: bool) -> list[str]:
    """The prompt that was decided on, and the negative one. Raises FiligranaError where it cannot be opened."""
    with session(log.engine) as opened:
        vault = Vault(opened)
        try:
            kept = vault.texts_of_intent(UUID(intent))
        except ValueError:
            raise InputError("this request has no id that can be read", code="input.request") from None
        wanted = "rewritten_prompt" if rewritten else "prompt"
        if wanted not in kept:
            raise InputError("the prompt is no longer kept", code="provenance.erased")
        return [vault.open_text(kept[kind]) for kind in (wanted, "negative_prompt") if kind in kept]


def by_record(
    decision: Mapping[str, Any], side: str, pack: Pack, then: Pack | None
) -> tuple[Verdict | None, tuple[str, ...]]:
    """The verdict under ``pack`` and its rules, from a decision as the log has it; None, and why, where that does not
    tell. ``side``: prompt, output (of what was made here) or sealed. ``then``: the pack that decided, if it is at hand.
    A rule that blocks settles it, whatever else is not known."""
    scores, failed = _scores(decision)
    fired = {str(rule.get("id")) for rule in decision.get("rules") or () if isinstance(rule, dict)}
    worst, rules, unknown = Verdict.ALLOW, [], []
    judged = "prompt" if side == "prompt" else "output"
    for rule in (rule for rule in pack.rules if rule.side == judged and rule.status != "deprecated"):
        answer = _fired(rule, scores, fired, pack, then)
        if isinstance(answer, str):
            unknown.append(answer)
        elif answer:
            worst = max(worst, rule.severity)
            rules.append(rule.id)
    if worst is Verdict.BLOCK:
        return worst, tuple(rules)
    requires = pack.requires
    needed = {"prompt": requires.prompt, "sealed": requires.sealed}.get(side, requires.generated)
    missing = [name for name in needed if name not in scores and name not in failed]
    if missing:
        unknown.append(f"the guard {missing[0]} was not asked then")
    if any(name in failed for name in needed):
        # A guard without an answer is held for a person by every pack.
        worst = max(worst, Verdict.REVIEW)
        rules.append("ENGINE")
    if unknown:
        return None, (unknown[0],)
    return worst, tuple(rules)


def _scores(decision: Mapping[str, Any]) -> tuple[dict[str, dict[str, float]], set[str]]:
    """Scores by guard, and the guards that failed."""
    found: dict[str, dict[str, float]] = {}
    failed: set[str] = set()
    for run in decision.get("guards") or ():
        name = str(run.get("guard"))
        if run.get("error") is not None:
            failed.add(name)
            continue
        try:
            found[name] = {str(hazard): float(score) for hazard, score in run["scores"].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            failed.add(name)
    return found, failed


def _fired(
    rule: Rule, scores: Mapping[str, Mapping[str, float]], fired: set[str], pack: Pack, then: Pack | None
) -> bool | str:
    """Whether the rule would fire, or why that cannot be told."""
    if rule.score is not None:
        score = scores.get(rule.score.guard, {}).get(rule.hazard)
        if score is None:
            return f"no score of {rule.score.guard} for {rule.hazard} was recorded"
        # Six decimals were written down: closer than that to the threshold, either is possible.
        if abs(score - rule.score.at_least) < 1e-6:
            return "a recorded score lies on the threshold"
        return score >= rule.score.at_least
    was = None if then is None else next((one for one in then.rules if one.id == rule.id), None)
    if was is None or then is None or was.status == "deprecated":
        return "a rule of terms is new, and the prompt is not kept"
    same = was.terms == rule.terms and was.mixed_scripts == rule.mixed_scripts
    if rule.terms is not None and same:
        names = [*rule.terms.all_of, *rule.terms.unless]
        same = all(then.document.lists.get(name) == pack.document.lists.get(name) for name in names)
    return rule.id in fired if same else "a rule of terms has changed, and the prompt is not kept"
