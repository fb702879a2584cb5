"""`filigrana comply`: do finished files fulfil what laws ask of them?"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.markup import escape

from ...errors import InputError
from ...provenance.durable import write_file
from .state import check_output, installation

if TYPE_CHECKING:
    from ..comply import Checked

app = typer.Typer(no_args_is_help=True, help="Duties of laws: what they ask, and whether files fulfil it.")
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
PROFILE = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--profile", help="eu, us-ca, us-ny, cn, in, kr, or a YAML file; several are allowed."),
]
_SIGNS = {"pass": "[green]✓[/green]", "fail": "[red]✗[/red]", "open": "[yellow]?[/yellow]", "none": "[dim]·[/dim]"}
NOTE = "Evidence, not legal advice."
ASSUMED = "nothing in it says how it was made: it is held against the rules as if AI had made it"


@app.command("check")
def check_(
    files: Annotated[list[str], typer.Argument(help="Files or folders: released here, or anybody's.")],
    profile: PROFILE = None,
    proof: Annotated[Optional[Path], typer.Option(help="The log's inclusion proof (tlog-proof) of a file.")] = None,  # noqa: UP045
    log_key: Annotated[Optional[list[str]], typer.Option(help="The verifier key of the proof's log.")] = None,  # noqa: UP045
    robustness: Annotated[Optional[Path], typer.Option(help="A robustness report, instead of the one here.")] = None,  # noqa: UP045
    ocr: Annotated[bool, typer.Option(help="Read visible labels with the text recogniser too.")] = True,
    junit: Annotated[Optional[Path], typer.Option(help="Write the outcomes as JUnit XML here.")] = None,  # noqa: UP045
    json_: JSON = False,
) -> None:
    """Holds final bytes against the rules R1 to R16 that the profiles name. Evidence, not legal advice.

    Exit codes: 0 every rule passes, 5 one fails, 4 none fails but some could not be looked at, 1 error.
    """
    from ...provenance.reports.duties import needs_of
    from ..comply import Complying
    from .output import checking, emit_json, out
    from .verify import _sources

    if junit is not None:
        check_output(junit)
    with installation(profiles=profile or None) as opened, ExitStack() as stack:
        needs = needs_of(opened.settings.profiles, opened.settings.label_language)
        if not needs.profiles:
            raise InputError("no profile is chosen", code="input.profile", hint="Give --profile eu, for example.")
        complying = Complying(opened, needs, proof=proof, keys=log_key or (), report=robustness, reads=ocr)
        sources = list(_sources(files, False, opened, stack))
        if proof is not None and len(sources) != 1:
            raise InputError("--proof goes with exactly one file", code="input.option")
        checked: list[Checked] = []
        with checking(len(sources), json_ or len(sources) < 2) as tick:
            for one in complying.many(sources):
                checked.append(one)
                tick(one.file)
                if not json_:
                    _show(one)
        answer = _answer(checked, opened.settings.profiles)
    if junit is not None:
        write_file(junit, _junit(answer), 0o666)
    if json_:
        emit_json(answer)
    else:
        out.print(f"[dim]profiles {', '.join(needs.ids)}; {NOTE}[/dim]")
    raise typer.Exit(5 if any(one.failed for one in checked) else 0 if all(one.passed for one in checked) else 4)


@app.command("duties")
def duties_(
    profile: Annotated[Optional[list[str]], typer.Argument(help="Profiles; without any, all that ship.")] = None,  # noqa: UP045
    json_: JSON = False,
) -> None:
    """What the profiles ask: each duty with its law, since when, its source, and the rules that show its fulfilment."""
    from .output import emit_json, out

    found = _profiles(profile)
    if json_:
        emit_json(found)
        return
    for one in found:
        out.print(f"\n[bold]{one['id']}[/bold] {escape(one['title'])} [dim](as of {one['version']})[/dim]")
        for duty in one["duties"]:
            since = duty["since"] or "not known to us"
            mark = " [yellow](secondary source only)[/yellow]" if duty["secondary"] else ""
            rules = ", ".join(duty["rules"]) or "no rule: " + escape(duty["outside"])
            out.print(f"  [bold]{duty['id']}[/bold] since {since}{mark}: {rules}")
            out.print(f"    {escape(duty['law'])}\n    [dim]{escape(' '.join(duty['says'].split()))}[/dim]")
            if duty["quote"]:
                out.print(f"    “{escape(duty['quote'])}”")
    out.print(f"\n[dim]In our own words but for what is quoted; the text of the law is at its source. {NOTE}[/dim]")


def _profiles(names: list[str] | None) -> list[dict[str, Any]]:
    from ...provenance.reports.duties import builtin, load

    found = []
    for name in names or builtin():
        one, digest = load(name)
        found.append(one.model_dump(mode="json") | {"digest": digest})
    return found


def _show(one: Checked) -> None:
    from ...provenance.reports.rules import RULES
    from .output import out

    out.print(f"[bold]{escape(one.file)}[/bold] [dim]{one.finding.finding}[/dim]")
    if one.facts is None:
        out.print(f"  {_SIGNS['fail']} it cannot be read: {escape(one.finding.evidence[0].detail)}")
    if one.assumed:
        out.print(f"  [dim]{ASSUMED}[/dim]")
    for outcome in one.outcomes:
        out.print(f"  {_SIGNS[outcome.status]} {outcome.rule:<4}{RULES[outcome.rule].title}: {escape(outcome.detail)}")


def _answer(checked: list[Checked], names: list[str]) -> dict[str, Any]:
    from ...provenance.reports.duties import load
    from ...provenance.reports.rules import RULES

    asked: dict[str, list[dict[str, Any]]] = {}
    profiles = []
    for name in names:
        found, digest = load(name)
        profiles.append({"id": found.id, "version": found.version.isoformat(), "digest": digest})
        for duty in found.duties:
            for rule in duty.rules:
                told = {"id": duty.id, "law": duty.law, "source": duty.source, "secondary": duty.secondary}
                asked.setdefault(rule, []).append(told | {"since": None if duty.since is None else str(duty.since)})
    return {
        "profiles": profiles,
        "files": [
            {
                "file": one.file,
                "finding": one.finding.finding,
                "asset_id": None if one.finding.asset_id is None else str(one.finding.asset_id),
                "sha256": None if one.facts is None else one.facts.sha256,
                "passed": one.passed,
                "assumed_ai": one.assumed,
                "rules": [
                    {
                        "rule": outcome.rule,
                        "title": RULES[outcome.rule].title,
                        "text": RULES[outcome.rule].text,
                        "status": outcome.status,
                        "detail": outcome.detail,
                        "duties": asked.get(outcome.rule, []),
                    }
                    for outcome in one.outcomes
                ],
            }
            for one in checked
        ],
        "note": NOTE,
    }


def _junit(answer: dict[str, Any]) -> bytes:
    """One test suite a file, one test case a rule; what nobody could look at is an error, not a skip: it is no pass."""
    from xml.etree import ElementTree

    root = ElementTree.Element("testsuites", name="filigrana comply")
    for file in answer["files"]:
        rules = file["rules"] or [{"rule": "R1", "title": "readable", "status": "fail", "detail": "it cannot be read"}]
        count = {word: str(sum(r["status"] == word for r in rules)) for word in ("fail", "open", "none")}
        suite = ElementTree.SubElement(
            root, "testsuite", name=_xml(file["file"]), tests=str(len(rules)),
            failures=count["fail"], errors=count["open"], skipped=count["none"],
        )  # fmt: skip
        for rule in rules:
            case = ElementTree.SubElement(
                suite, "testcase", classname=_xml(file["file"]), name=f"{rule['rule']} {rule['title']}"
            )
            kind = {"fail": "failure", "open": "error", "none": "skipped"}.get(rule["status"])
            if kind is not None:
                ElementTree.SubElement(case, kind, message=_xml(rule["detail"]))
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _xml(text: str) -> str:
    """XML 1.0 has no control characters and no halves of pairs, not even escaped."""
    return "".join(
        c if c in "\t\n" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "�" for c in text
    )
