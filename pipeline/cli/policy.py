"""`filigrana policy`: what is judged by which rules, and trying it out."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Optional

import typer
from rich.markup import escape
from rich.table import Table

from . import policy_compare, policy_sign
from .state import guards_for, read_lines, settings

app = typer.Typer(no_args_is_help=True, help="Policy packs: show, test, compare, replay, sign; check a prompt.")
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
app.command("diff")(policy_compare.diff)
app.command("explain")(policy_compare.explain)
app.command("replay")(policy_compare.replay)
app.command("sign")(policy_sign.sign)
app.command("verify-signature")(policy_sign.verify_signature)
PACK = Annotated[Optional[str], typer.Argument(help="A pack's name or path; default: the one in use.")]  # noqa: UP045


@app.command("list")
def list_(json_: JSON = False) -> None:
    """The built-in packs, and the one in use."""
    from ...safety.policy import builtin_names, load_pack
    from .output import emit_json, out

    used = settings().policy
    names = [*builtin_names(), *([used] if used not in builtin_names() else [])]
    packs = [(name, load_pack(name)) for name in names]
    if json_:
        emit_json(
            [
                {
                    "id": p.ref.id,
                    "version": p.ref.version,
                    "digest": p.ref.digest,
                    "rules": len(p.rules),
                    "title": p.document.title,
                    "used": name == used,
                }
                for name, p in packs
            ]
        )
        return
    for name, p in packs:
        mark = "[green]●[/green]" if name == used else " "
        out.print(
            f"{mark} [bold]{p.ref.id}[/bold] {p.ref.version}  {len(p.rules)} rules  [dim]{p.ref.digest[:12]}[/dim]"
        )
        out.print(f"    {escape(p.document.description)}")


@app.command()
def show(
    name: PACK = None,
    source: Annotated[bool, typer.Option("--source", help="The file itself, to be changed or signed.")] = False,
    json_: JSON = False,
) -> None:
    """Every rule of a pack: what it is for, what it does, and its code."""
    from ...safety.policy import load_pack
    from ..policies import read_pack
    from .output import emit_json, out

    if source:
        sys.stdout.buffer.write(read_pack(name or settings().policy)[0])
        return
    pack = load_pack(name or settings().policy)
    if json_:
        emit_json(pack.document.model_dump(mode="json") | {"digest": pack.ref.digest})
        return
    out.print(f"[bold]{pack.ref.id}[/bold] {pack.ref.version}, sha256 {pack.ref.digest}")
    table = Table("rule", "side", "hazard", "verdict", "what")
    for rule in pack.rules:
        table.add_row(rule.id, rule.side, rule.hazard, rule.verdict, rule.title)
    out.print(table)


@app.command()
def check(
    prompts: Annotated[list[str] | None, typer.Argument(help="Prompts; without any, one a line is read.")] = None,
    policy: Annotated[Optional[str], typer.Option(help="A pack's name or path.")] = None,  # noqa: UP045
    _json: Annotated[
        bool, typer.Option("--json", help="Always so here; taken so that every command takes it.")
    ] = False,
) -> None:
    """Judges prompts without making anything: one JSON line each.

    Exit codes: 0 allow, 12 rewrite, 11 review, 10 block; the strictest wins. 1 error.
    """
    from ...errors import InputError, PromptError
    from ...safety.decision import Verdict
    from ...safety.judge import judge_text
    from ..policies import load_tested_pack
    from ..policy_signatures import parse_signers
    from .output import emit_json

    used = settings()
    pack = load_tested_pack(policy or used.policy, parse_signers(used.policy_signers))
    guards = guards_for(pack)
    worst, failed = Verdict.ALLOW, False
    lines = prompts if prompts else (line.rstrip("\n") for line in read_lines())
    judged = 0
    for judged, text in enumerate(lines, 1):  # noqa: B007  counted below
        started = time.perf_counter()
        try:
            decision = judge_text(text, pack, guards, timeout=used.guard_timeout)
        except PromptError as error:
            # What cannot be judged is not allowed.
            failed = True
            emit_json(
                {
                    "verdict": "block",
                    "hazards": {},
                    "rules": [],
                    "policy": pack.ref.id,
                    "milliseconds": round((time.perf_counter() - started) * 1e3, 3),
                    "error": error.code,
                }
            )
            worst = Verdict.BLOCK
            continue
        worst = max(worst, decision.verdict)
        emit_json(
            {
                "verdict": decision.verdict.word,
                "hazards": {k: round(v, 4) for k, v in decision.hazards().items()},
                "rules": [hit.rule for hit in decision.hits],
                "policy": pack.ref.id,
                "milliseconds": round((time.perf_counter() - started) * 1e3, 3),
                "code": decision.code,
            }
        )
    if not judged:
        raise InputError(
            "there is no prompt to check", code="input.prompt.empty", hint="Name one, or pipe one in a line."
        )
    codes = {Verdict.ALLOW: 0, Verdict.REWRITE: 12, Verdict.REVIEW: 11, Verdict.BLOCK: 10}
    raise typer.Exit(codes[worst] if not failed or worst is Verdict.BLOCK else 1)


@app.command()
def test(name: PACK = None, json_: JSON = False) -> None:
    """Runs the tests that stand in a pack; those of scores where their guard is set up (`guards`).

    Exit codes: 0 all that could be run pass, 5 some fail, 1 the pack is not valid.
    """
    from ...safety.policy import load_pack
    from ...safety.trials import run_tests
    from .output import emit_json, err, out

    used = settings()
    pack = load_pack(name or used.policy)
    asked = {rule.score.guard for rule in pack.rules if rule.score and (rule.tests.match or rule.tests.no_match)}
    trial = run_tests(pack, guards_for(pack) if asked else [], timeout=used.guard_timeout)
    if json_:
        emit_json(
            {
                "policy": pack.ref.id,
                "digest": pack.ref.digest,
                "tests": trial.total,
                "failed": [
                    {
                        "rule": f.rule,
                        "prompt": f.prompt,
                        "should_fire": f.should_fire,
                        "score": f.score,
                        "error": f.error,
                    }
                    for f in trial.failures
                ],
                "untried": dict(trial.untried),
            }
        )
    else:
        for f in trial.failures:
            told = "" if f.score is None else f" (scored {f.score:.4f})"
            told = f" (no score: {f.error})" if f.error else told
            wanted = "should fire" if f.should_fire else "should not fire"
            err.print(f"[red]✗[/red] {f.rule} {wanted} on {escape(f.prompt)!r}{told}")
        for guard, count in trial.untried:
            err.print(
                f"[yellow]![/yellow] {count} tests not tried: the guard {escape(guard)} is not set up for prompts"
            )
        out.print(f"{pack.ref.id} {pack.ref.version}: {trial.passed} of {trial.total} tests pass")
    raise typer.Exit(5 if trial.failures else 0)
