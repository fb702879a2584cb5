"""`filigrana policy diff`, `replay` and `explain`: what a pack changes, and why it decides as it does."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer
from rich.markup import escape

from .state import guards_for, reading, settings

JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
_SIGNS = {"added": "[green]+[/green]", "removed": "[red]-[/red]", "changed": "[yellow]~[/yellow]"}


def diff(
    old: Annotated[str, typer.Argument(help="A pack's name or path.")],
    new: Annotated[str, typer.Argument(help="The other one's.")],
    json_: JSON = False,
) -> None:
    """What differs between two packs: rules, thresholds, guards, lists, field by field.

    Exit codes: 0 they say the same (comments and layout may differ), 4 they differ, 1 one is not valid.
    """
    from ...safety.comparing import compare
    from ...safety.policy import load_pack
    from .output import emit_json, out

    before, after = load_pack(old), load_pack(new)
    changes = compare(before, after)
    if json_:
        emit_json(
            {
                "same": not changes,
                "old": before.ref.record(),
                "new": after.ref.record(),
                "changes": [change.as_dict() for change in changes],
            }
        )
    else:
        for change in changes:
            out.print(f"{_SIGNS[change.what]} [bold]{escape(change.place)}[/bold]")
            for sign, value in (("-", change.before), ("+", change.after)):
                for line in _lines(value):
                    out.print(f"    {sign} {escape(line)}")
        names = (f"{one.ref.id} {one.ref.version}" for one in (before, after))
        out.print(" and ".join(names) + (f": {len(changes)} differences" if changes else " say the same"))
    raise typer.Exit(4 if changes else 0)


def _lines(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [f"{key}: {item}" for key, item in value.items() if item not in (None, [], {})]
    return [", ".join(map(str, value)) if isinstance(value, list) else str(value)]


def explain(
    prompt: Annotated[Optional[str], typer.Argument(help="A prompt; without one, standard input is read.")] = None,  # noqa: UP045
    policy: Annotated[Optional[str], typer.Option(help="A pack's name or path.")] = None,  # noqa: UP045
    json_: JSON = False,
) -> None:
    """Why a prompt is judged as it is: every rule that fired, and the nearest that did not.

    Names the reading of the text and the term, or the guard's score and the threshold. Exit codes as of `policy check`.
    """
    from ...safety.decision import Verdict
    from ...safety.explaining import explain as account
    from ..policies import load_tested_pack
    from ..policy_signatures import parse_signers
    from .output import emit_json, out
    from .state import read_text

    used = settings()
    pack = load_tested_pack(policy or used.policy, parse_signers(used.policy_signers))
    guards = guards_for(pack)
    found = account(prompt if prompt is not None else read_text(), pack, guards, timeout=used.guard_timeout)
    if json_:
        emit_json(found.as_dict())
    else:
        ref = pack.ref
        out.print(f"[bold]{found.decision.verdict.word}[/bold] ({found.decision.code}) by {ref.id} {ref.version}")
        for one in found.fired:
            out.print(f"[red]●[/red] {one.rule.id} {escape(one.rule.title)}: {one.rule.verdict}")
            out.print(f"    {escape(one.why)}")
            out.print(f"    [dim]{escape(one.rule.reason)}[/dim]")
        for guard, code in found.failed:
            out.print(f"[red]![/red] the guard {escape(guard)} gave no answer ({code}), so a person has to look")
        if found.near:
            out.print("nearest rules that did not fire:")
        for one in found.near:
            out.print(f"[dim]○[/dim] {one.rule.id} {escape(one.rule.title)}: {escape(one.why)}")
        if found.decision.rewrite is not None:
            out.print(f"offered instead: {escape(found.decision.rewrite.prompt)}")
    codes = {Verdict.ALLOW: 0, Verdict.REWRITE: 12, Verdict.REVIEW: 11, Verdict.BLOCK: 10}
    raise typer.Exit(codes[found.decision.verdict])


def replay(
    pack: Annotated[str, typer.Argument(help="The changed pack's name or path.")],
    since: Annotated[Optional[str], typer.Option("--from", help="Decisions from this time on: 2026-11-22.")] = None,  # noqa: UP045
    until: Annotated[Optional[str], typer.Option("--to", help="Decisions before this time.")] = None,  # noqa: UP045
    known: Annotated[Optional[list[str]], typer.Option("--was", help="A pack that judged then (name or path).")] = None,  # noqa: UP045
    json_: JSON = False,
) -> None:
    """Which past requests a changed pack would decide differently. Writes nothing and shows no prompt.

    Exit codes: 0 none would be, 4 some would be or some could not be replayed, 1 error.
    """
    from ...provenance.log.search import parse_time
    from ...safety.policy import builtin_names, load_pack
    from ..policies import load_tested_pack
    from ..policy_replay import replay_policy, summary
    from .output import emit_json, out

    new = load_tested_pack(pack)
    with reading() as opened:
        used = opened.settings
        then = [load_pack(name) for name in dict.fromkeys([*builtin_names(), used.policy, *(known or [])])]
        found = summary(
            replay_policy(
                opened.log,
                new,
                opened.text_guards(new),
                then,
                since=None if since is None else parse_time(since),
                until=None if until is None else parse_time(until),
                timeout=used.guard_timeout,
            )
        )
    if json_:
        emit_json({"policy": new.ref.record(), **found.as_dict()})
    else:
        for one in found.different:
            why = f" ({', '.join(one.why)})" if one.why else ""
            out.print(
                f"{escape(one.time)}  {one.intent}  {one.side:<6}  {one.before} → [bold]{one.after}[/bold]{escape(why)}"
            )
        out.print(
            f"{found.decisions} decisions: {len(found.different)} would be different, {found.judged} judged again, "
            f"{found.by_scores} by recorded scores"
        )
        for reason, count in found.unknown.items():
            out.print(f"[yellow]{count} could not be replayed[/yellow]: {escape(reason)}")
    raise typer.Exit(4 if found.different or found.unknown else 0)
