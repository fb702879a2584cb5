"""`filigrana policy`: what is judged by which rules, and trying it out."""

from __future__ import annotations

import time
from typing import Annotated, Optional

import typer
from rich.markup import escape
from rich.table import Table

from .state import read_lines, settings

app = typer.Typer(no_args_is_help=True, help="Policy packs: list, show, check a prompt, run their own tests.")
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
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
def show(name: PACK = None, json_: JSON = False) -> None:
    """Every rule of a pack: what it is for, what it does, and its code."""
    from ...safety.policy import load_pack
    from .output import emit_json, out

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
    from ...errors import PromptError
    from ...safety.decision import Verdict
    from ...safety.judge import judge_text
    from ..guards import text_guards
    from ..policies import load_tested_pack
    from .output import emit_json

    pack = load_tested_pack(policy or settings().policy)
    guards = text_guards(pack.requires.prompt)
    worst, failed = Verdict.ALLOW, False
    lines = prompts if prompts else (line.rstrip("\n") for line in read_lines())
    for text in lines:
        started = time.perf_counter()
        try:
            decision = judge_text(text, pack, guards)
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
    codes = {Verdict.ALLOW: 0, Verdict.REWRITE: 12, Verdict.REVIEW: 11, Verdict.BLOCK: 10}
    raise typer.Exit(codes[worst] if not failed or worst is Verdict.BLOCK else 1)


@app.command()
def test(name: PACK = None, json_: JSON = False) -> None:
    """Runs the tests that stand in a pack. Exit codes: 0 all pass, 5 some fail, 1 the pack is not valid."""
    from ...safety.judge import run_cases
    from ...safety.policy import cases, load_pack
    from .output import emit_json, err, out

    pack = load_pack(name or settings().policy)
    total, failed = sum(1 for _ in cases(pack)), run_cases(pack)
    if json_:
        emit_json(
            {
                "policy": pack.ref.id,
                "digest": pack.ref.digest,
                "tests": total,
                "failed": [{"rule": r, "prompt": t, "should_fire": e} for r, t, e in failed],
            }
        )
    else:
        for rule, text, expected in failed:
            err.print(f"[red]✗[/red] {rule} {'should fire' if expected else 'should not fire'} on {escape(text)!r}")
        out.print(f"{pack.ref.id} {pack.ref.version}: {total - len(failed)} of {total} tests pass")
    raise typer.Exit(5 if failed else 0)
