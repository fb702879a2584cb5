"""`filigrana keys`: who signs, and for how long."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from . import keys_change, keys_recall, keys_stamp
from .state import installation

app = typer.Typer(no_args_is_help=True, help="The signing keys of this installation.")
app.command("rotate")(keys_change.rotate)
app.command("import")(keys_change.import_)
app.command("lint")(keys_change.lint)
app.command("revoke")(keys_recall.revoke)
app.command("recall")(keys_recall.recall)
app.command("stamp-pending")(keys_stamp.stamp_pending)
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


@app.command()
def init(json_: JSON = False) -> None:
    """Makes the development keys that are missing. Nothing existing is replaced."""
    from .output import emit_json, out

    with installation() as opened:
        made = opened.ensure_keys()
        folder = opened.keys.folder
    if json_:
        emit_json({"folder": str(folder), "made": made})
    else:
        out.print(f"{folder}: {'made ' + ', '.join(made) if made else 'all keys are there'}")


@app.command()
def show(json_: JSON = False) -> None:
    """Shows certificates and the log's verifier key, and what the certificate profile finds wrong. No secret."""
    from cryptography import x509

    from ...errors import KeyStoreError
    from ...provenance.lint import lint
    from ...provenance.log.signer import Ed25519LogSigner
    from .output import emit_json, out

    with installation() as opened:
        folder = opened.keys.folder
        if not (folder / "claim.pem").exists():
            raise KeyStoreError("there are no keys yet", hint="Run `filigrana keys init`, or generate something.")
        leaf, tsa = x509.load_pem_x509_certificates(opened.signer().chain_pem.encode())[0], opened.keys.tsa()
        development = opened.settings.signer == "file" and opened.keys.development_root() is not None
        now = opened.clock()
        log = Ed25519LogSigner.load(folder / "log.key").verifier_key
        report: dict[str, Any] = {
            "folder": str(folder),
            "signer": opened.settings.signer.partition(":")[0],
            "claim": _certificate(leaf)
            | {"development": development, "problems": [p.text for p in lint(leaf, now=now)]},
            "tsa": _certificate(tsa.pair.certificate),
            "log": str(log),
            "log_ml_dsa": None if opened.log.second_key is None else str(opened.log.second_key),
            "codec_key": "secret" if opened.watermark_key is not None else "published",
        }
    if json_:
        emit_json(report)
        return
    for name in ("claim", "tsa"):
        certificate = report[name]
        out.print(f"[bold]{name:<6}[/bold] {escape(certificate['subject'])}")
        out.print(f"       issued by {escape(certificate['issuer'])}")
        out.print(f"       valid until {certificate['not_after']}, sha256 {certificate['sha256'][:24]}…")
    if report["claim"]["development"]:
        out.print("       [yellow]development trust: only this installation believes these keys[/yellow]")
    for problem in report["claim"]["problems"]:
        out.print(f"       [red]{escape(problem)}[/red]")
    out.print(f"[bold]log[/bold]    {escape(report['log'])}")
    if report["log_ml_dsa"]:
        out.print(f"       {escape(report['log_ml_dsa'][:72])}… [dim](whole with --json)[/dim]")
    out.print(f"[bold]mark[/bold]   {report['codec_key']} detection key")


def _certificate(certificate: Any) -> dict[str, Any]:
    from cryptography.hazmat.primitives import hashes

    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
    }
