"""`filigrana audit erase`, `retain` and `doctor`: what is kept of people and for how long, and is the log sound."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ...errors import FiligranaError, InputError
from .state import reading

if TYPE_CHECKING:
    from ..installation import Installation

JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


def erase(
    subject: Annotated[str, typer.Argument(help="The subject's name, as requests gave it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: it cannot be undone.")] = False,
    json_: JSON = False,
) -> None:
    """Destroys a subject's key: its prompts become unreadable for good, everywhere. Every proof stays valid.

    The erasure is itself an entry. Released files stay, and carry commitments that nobody can test any more.
    """
    from .output import emit_json, out

    if not yes and (json_ or not typer.confirm(f"Destroy the key of {subject!r}? Its texts can never be read again.")):
        raise InputError("nothing was erased", code="input.confirm", hint="Give --yes.")
    with reading() as opened:
        index, entry = opened.ledger.erase(subject, opened.labels.needs.retention_days)
        clean = opened.ledger.reclaim()
        swept = _forget_files(opened)
    if json_:
        left = not (clean and swept)
        emit_json({"index": index, "actor": entry["actor"], "texts": entry["texts"], "remnants": left})
    else:
        out.print(f"erased: {entry['texts']} texts; the log says so in entry {index}, as {escape(entry['actor'])}")
        _tell(clean)


def retain(
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Instead of the policy's retention period.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many texts would go.")] = False,
    json_: JSON = False,
) -> None:
    """Deletes prompts that were kept for longer than the policy says (`retention_days`); run it daily.

    The deletion is itself an entry. Entries of the log are never deleted.
    """
    from ...provenance.database import session
    from ...provenance.vault import Vault
    from ..subjects import kept_subjects
    from .output import emit_json, out

    with reading() as opened:
        least = opened.labels.needs.retention_days
        period = days or opened.pack.document.retention_days
        if period is not None and period < least:
            raise InputError(
                f"the chosen profiles ask for {least} days at least, and {period} were given",
                code="input.retention",
                hint="Give more days, or set retention_days in the pack.",
            )
        if period is None:
            raise InputError(
                f"the policy {opened.pack.ref.id} names no retention period",
                code="input.retention",
                hint="Give --days, or set retention_days in the pack.",
            )
        before = opened.clock() - dt.timedelta(days=period)
        index, clean, swept = None, True, True
        if dry_run:
            with session(opened.log.engine) as rows:
                kept = kept_subjects(rows, opened.ledger.kept_back, opened.clock(), least)
                count = Vault(rows).kept_before(before, kept)
        else:
            ref = opened.pack.ref
            policy = {"id": ref.id, "version": ref.version, "digest": ref.digest}
            done = opened.ledger.expire(before, policy, least)
            index, count = (None, 0) if done is None else (done[0], int(done[1]["texts"]))
            clean = opened.ledger.reclaim()
            swept = _forget_files(opened)
    if json_:
        left = not (clean and swept)
        emit_json({"days": period, "texts": count, "index": index, "dry_run": dry_run, "remnants": left})
    elif dry_run:
        out.print(f"{count} texts are older than {period} days")
    else:
        out.print(f"{count} texts deleted" + ("" if index is None else f"; the log says so in entry {index}"))
        _tell(clean)


def hold(
    subject: Annotated[str, typer.Argument(help="The subject's name, as requests gave it.")],
    reason: Annotated[str, typer.Option(help="A file number or the like: it stands in the log for all to read.")],
    json_: JSON = False,
) -> None:
    """Places a legal hold: nothing of this subject is erased or expires until it is lifted. An entry of the log."""
    _held(subject, reason, json_, lift=False)


def unhold(
    subject: Annotated[str, typer.Argument(help="The subject's name, as requests gave it.")],
    reason: Annotated[str, typer.Option(help="Why it is lifted: it stands in the log for all to read.")],
    json_: JSON = False,
) -> None:
    """Lifts a legal hold. An entry of the log."""
    _held(subject, reason, json_, lift=True)


def _held(subject: str, reason: str, json_: bool, *, lift: bool) -> None:
    from ..subjects import hold as place
    from .output import emit_json, out

    with reading() as opened:
        index, actor = place(opened.ledger, subject, reason, lift=lift)
    if json_:
        emit_json({"index": index, "actor": actor, "held": not lift})
    else:
        out.print(f"{'lifted' if lift else 'held'}: the log says so in entry {index}, as {escape(actor)}")


def subject_export(
    subject: Annotated[str, typer.Argument(help="The subject's name, as requests gave it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, for that person alone.")],
    json_: JSON = False,
) -> None:
    """Writes all that is kept of a subject: prompts, and the log's entries about its requests. An entry of the log."""
    import json

    from ...provenance.durable import write_file
    from ..subjects import export
    from .output import emit_json, out
    from .state import check_output

    check_output(output)
    with reading() as opened:
        found = export(opened.ledger, subject)
    # For nobody else's eyes, also where a file that everybody may read lay there before.
    write_file(output, json.dumps(found, ensure_ascii=False, indent=1, sort_keys=True).encode(), 0o600)
    texts, entries = len(found["texts"]), len(found["entries"])
    if json_:
        emit_json({"file": str(output), "texts": texts, "entries": entries, "index": found["logged"]})
    else:
        out.print(f"{escape(str(output))}: {texts} texts, {entries} entries; said in entry {found['logged']}")


def _forget_files(opened: Installation) -> bool:
    """What lies outside the database. False where it stays for the next time: without a policy in force nothing is
    swept."""
    from ..waiting import forget_erased, stamping_parts
    from .output import err

    try:
        forget_erased(stamping_parts(opened))
    except FiligranaError as error:
        err.print(
            "[yellow]Files that wait for people or for a time-stamp were not looked through[/yellow]: "
            f"{escape(error.message)}. `filigrana audit retain` finishes the work."
        )
        return False
    return True


def _tell(clean: bool) -> None:
    from .output import err

    if not clean:
        err.print(
            "[yellow]The database's files still hold remnants[/yellow]: someone was reading, or this role may not "
            "vacuum. `filigrana audit retain` finishes the work; so does the next automatic vacuum."
        )


def _publishing(opened: Any) -> Any:
    from ...errors import LogError
    from ...provenance.log.health import Check

    try:
        return Check("publishing", True, opened.publishing.summary())
    except LogError as error:
        return Check("publishing", True, error.message, warning=True)


def doctor(json_: JSON = False) -> None:
    """Checks what the log's promises rest on, by trying what must be refused. Exit codes: 0 sound, 1 not."""
    from ...provenance.log.health import examine
    from .output import emit_json, out

    with reading() as opened:
        checks = [*examine(opened.log, opened.guard_path), _publishing(opened)]
    sound = all(check.ok for check in checks)
    if json_:
        emit_json(
            {
                "sound": sound,
                "checks": [{"name": c.name, "ok": c.ok, "warning": c.warning, "detail": c.detail} for c in checks],
            }
        )
    else:
        for check in checks:
            sign = "[red]✗[/red]" if not check.ok else "[yellow]![/yellow]" if check.warning else "[green]✓[/green]"
            out.print(f"{sign} {check.name:<32} {escape(check.detail)}")
    raise typer.Exit(0 if sound else 1)
