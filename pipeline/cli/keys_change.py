"""`filigrana keys rotate`, `import` and `lint`: other keys, and what the profile says of their certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.markup import escape

from ...errors import InputError, KeyStoreError
from .state import installation

JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
ALGORITHMS = ("es256", "es384", "es512", "ps256", "ed25519")


def rotate(
    algorithm: Annotated[str, typer.Option(help="es256, es384, es512, ps256 or ed25519.")] = "es256",
    json_: JSON = False,
) -> None:
    """Makes new development keys. The old ones are kept, and files that they signed stay trusted."""
    from ..rekeying import rotate as rotated

    if algorithm not in ALGORITHMS:
        raise InputError(f"--algorithm is one of {', '.join(ALGORITHMS)}", code="input.algorithm")
    with installation() as opened:
        _tell(rotated(opened, algorithm), [], json_)


def import_(
    key: Annotated[Path, typer.Option(help="The private key: PEM, encrypted or not, readable by you alone.")],
    chain: Annotated[Path, typer.Option(help="PEM: the leaf, then the issuing CAs, without the root.")],
    json_: JSON = False,
) -> None:
    """Takes in an organisation's own key and certificate. Name their root in the setting `claim_trust`."""
    from ..rekeying import take_in

    with installation() as opened:
        done, problems = take_in(opened, key, chain)
        _tell(done, problems, json_)


def _tell(done: Any, problems: list[tuple[str, Any]], json_: bool) -> None:
    from .output import emit_json, out

    told = [{"subject": name, "rule": p.rule, "text": p.text, "reference": p.reference} for name, p in problems]
    if json_:
        emit_json({"old": done.old, "new": done.new, "log": {"index": done.log_index}, "problems": told})
        return
    out.print(f"signs from now on: {done.new}")
    if done.old:
        out.print(f"kept under keys/old: {done.old}")
    out.print(f"log entry {done.log_index}")
    for problem in told:
        out.print(f"[yellow]{escape(problem['rule'])}[/yellow] {escape(problem['text'])}")


def lint(
    file: Annotated[Optional[Path], typer.Argument(help="A PEM chain, leaf first; else the installed ones.")] = None,  # noqa: UP045
    level: Annotated[str, typer.Option(help="AL1 (366 days at most) or AL2 (90).")] = "AL1",
    tsa: Annotated[bool, typer.Option("--tsa", help="The chain is a time-stamp authority's.")] = False,
    json_: JSON = False,
) -> None:
    """Holds certificates against the official C2PA profile. Exit codes: 0 nothing found, 5 something is wrong."""
    from cryptography import x509

    from ...provenance.lint import lint_chain
    from .output import emit_json, out

    if level not in ("AL1", "AL2"):
        raise InputError("--level is AL1 or AL2", code="input.level")
    with installation() as opened:
        now = opened.clock()
        if file is None:
            pem = opened.signer().chain_pem.encode()
        else:
            try:
                pem = file.read_bytes()
            except OSError as error:
                raise KeyStoreError(f"{file.name} cannot be read: {error.strerror}") from error
    try:
        chain = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise KeyStoreError("this is not a PEM certificate chain") from error
    found = lint_chain(chain, level=level, now=now, tsa=tsa)  # type: ignore[arg-type]
    if json_:
        told = [{"subject": n, "rule": p.rule, "text": p.text, "reference": p.reference} for n, p in found]
        emit_json({"level": level, "certificates": len(chain), "problems": told})
    else:
        for name, problem in found:
            out.print(f"[red]{problem.rule}[/red] {escape(name)}: {escape(problem.text)} ({escape(problem.reference)})")
        out.print(f"{len(chain)} certificates, {len(found)} problems by {level}")
    raise typer.Exit(5 if found else 0)
