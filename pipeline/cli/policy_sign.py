"""`filigrana policy sign` and `verify-signature`: who approved a pack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.markup import escape

from .state import settings

JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
FILE = Annotated[Path, typer.Argument(help="The pack's file.")]


def sign(
    pack: FILE,
    key: Annotated[Path, typer.Option(help="The signer's key file; made, and never overwritten, if it is not there.")],
    name: Annotated[
        str | None, typer.Option(help="Whose key it is, such as editor.example.org; for a new one.")
    ] = None,
    json_: JSON = False,
) -> None:
    """Approves a pack: writes PACK.sig beside it, a signed note. Signatures of others on the same pack stay.

    The pack must pass its own tests. The verifier key that is printed goes into the setting `policy_signers`.
    """
    from ...errors import InputError
    from ...provenance.log.signer import Ed25519LogSigner
    from ..policies import load_tested_pack
    from ..policy_signatures import read_signature, sign_pack, write_signature
    from .output import emit_json, out

    # A pack with a built-in one's name would else be read in place of the file.
    ref = load_tested_pack(str(pack.resolve())).ref
    if not key.exists() and name is None:
        raise InputError(
            f"there is no key {key.name}", code="input.key", hint="With --name WHO one is made for that name."
        )
    signer = Ed25519LogSigner.load(key) if key.exists() else Ed25519LogSigner.create(key, name or "")
    if name is not None and signer.name != name:
        raise InputError(f"this is the key of {signer.name}, not of {name}", code="input.key")
    written = write_signature(pack, sign_pack(ref, signer, read_signature(pack)))
    if json_:
        emit_json({"file": str(written), "policy": ref.record(), "signer": str(signer.verifier_key)})
    else:
        out.print(f"{escape(str(written))}: {ref.id} {ref.version}, approved by {escape(signer.name)}")
        out.print(f"    {escape(str(signer.verifier_key))}")


def verify_signature(
    pack: FILE,
    signer: Annotated[
        Optional[list[str]], typer.Option(help="A verifier key that is believed; default: policy_signers.")  # noqa: UP045
    ] = None,
    json_: JSON = False,
) -> None:
    """Whether somebody who is believed approved exactly this pack. Exit codes: 0 yes, 5 no, 1 error."""
    from ...errors import InputError, PolicyError
    from ...safety.policy import load_pack
    from ..policy_signatures import approved_by, parse_signers, read_signature
    from .output import emit_json, err, out

    try:
        trusted = parse_signers(signer or settings().policy_signers)
    except ValueError as error:
        raise InputError(str(error), code="input.key") from None
    if not trusted:
        raise InputError(
            "nobody's signature is believed", code="input.key", hint="Give --signer, or the setting policy_signers."
        )
    ref = load_pack(str(pack.resolve())).ref
    try:
        names, problem = approved_by(ref, read_signature(pack), trusted), None
    except PolicyError as error:
        names, problem = (), error
    if json_:
        code = None if problem is None else problem.code
        emit_json({"valid": problem is None, "policy": ref.record(), "approved_by": list(names), "code": code})
    elif problem is None:
        out.print(f"{ref.id} {ref.version}: approved by {escape(', '.join(key.partition('+')[0] for key in names))}")
    else:
        err.print(f"[red]✗[/red] {escape(problem.diagnostics())}")
    raise typer.Exit(0 if problem is None else 5)
