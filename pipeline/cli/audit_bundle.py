"""`filigrana audit bundle`: one file that an auditor checks offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.markup import escape

from ...errors import InputError, LogError, TamperError
from .audit_site import WITNESS
from .notes import read_note, verifier_key
from .state import installation

if TYPE_CHECKING:
    from ...provenance.log.bundle import Enclosures

app = typer.Typer(no_args_is_help=True, help="The auditor's bundle: a slice of the log that checks itself offline.")
JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
KEPT = Annotated[
    Optional[list[Path]],  # noqa: UP045
    typer.Option(help="A checkpoint that the auditor kept; may be given several times."),
]


@app.command()
def make(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, such as bundle.pyz.")],
    asset: Annotated[Optional[list[str]], typer.Argument(help="Asset ids: all entries about them.")] = None,  # noqa: UP045
    from_: Annotated[Optional[int], typer.Option("--from", min=0, help="From this entry on.")] = None,  # noqa: UP045
    to: Annotated[Optional[int], typer.Option("--to", min=1, help="Up to this entry, which is not in it.")] = None,  # noqa: UP045
    checkpoint: KEPT = None,
    json_: JSON = False,
) -> None:
    """Writes entries with their proofs, records, manifests, policies and a verifier into one file.

    Without assets and without --from and --to, the whole log.
    """
    from ...provenance.durable import write_file
    from ...provenance.identity import AssetId
    from ...provenance.log.bundle import make_bundle
    from ...provenance.log.note import Checkpoint
    from .output import emit_json, out
    from .state import check_output

    check_output(output)
    if from_ is not None and to is not None and from_ >= to:
        raise InputError("--from is not below --to", code="input.bundle")
    kept = [read_note(path) for path in checkpoint or []]
    with installation() as opened:
        # Others may write meanwhile: whatever comes after this checkpoint is not looked at.
        size = Checkpoint.open(opened.log.checkpoint(), opened.log.keys).size
        asked = [str(AssetId.parse(text)) for text in asset or []]
        indexes, assets = _chosen(opened.log, size, asked, from_, to)
        bundle = make_bundle(
            opened.log,
            indexes,
            _enclosures(opened, indexes, assets),
            assets=asked,
            kept=kept,
            witnesses=[key for item in opened.publishing.publishers for key in getattr(item, "keys", ())],
            cosigned=opened.publishing.archive,
        )
        key = str(opened.log.keys[0])
    try:
        write_file(output, bundle.data)
    except OSError as error:
        raise InputError(f"{output.name} cannot be written: {error.strerror}", code="input.target") from error
    clamped = size if to is not None and to > size else None
    if json_:
        emit_json(
            {
                "file": str(output),
                "clamped_to": clamped,
                "entries": bundle.entries,
                "size": bundle.size,
                "bytes": len(bundle.data),
                "verifier_key": key,
            }
        )
    else:
        out.print(f"{escape(str(output))}: {bundle.entries} entries under the checkpoint over {bundle.size}")
        if clamped is not None:
            out.print(f"--to {to} is beyond the log: the bundle goes up to {clamped}, which is all there was")
        out.print(f"[dim]Give the auditor the log's key by another way: {escape(key)}[/dim]")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The bundle.")],
    key: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="The log's verifier key, from elsewhere, or a file that holds it; may be given several times."
        ),
    ] = None,
    checkpoint: KEPT = None,
    witness: WITNESS = None,
    asset: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="An asset id whose release must be in the bundle; may be given several times."),
    ] = None,
    json_: JSON = False,
) -> None:
    """Checks a bundle offline, with this program instead of the one in it.

    Exit codes: 0 intact, 5 not, 1 not tried, or a kept checkpoint cannot be compared with it.
    """
    from ...provenance.identity import AssetId
    from ...provenance.log.bundle import same_code, same_readme
    from ...provenance.log.bundle_format import MAX_BYTES, unpack
    from ...provenance.log.bundle_main import as_dict, as_text, read_bounded
    from ...provenance.log.bundle_verifier import verify_bundle
    from .output import emit_json, out

    try:
        data = read_bounded(file, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise InputError(f"{file.name} cannot be read: {error}", code="input.file") from error
    report = verify_bundle(
        data,
        [verifier_key(text) for text in key or []],
        [read_note(path) for path in checkpoint or []],
        witnesses=[verifier_key(text) for text in witness or []],
        assets=[str(AssetId.parse(text)) for text in asset or []],
    )
    try:
        members = unpack(data)
        same, same_words = same_code(members), same_readme(members, report)
    except TamperError:
        same = same_words = False
    if json_:
        emit_json(as_dict(report) | {"same_verifier": same, "same_readme": same_words})
    else:
        out.print(escape(as_text(report)), end="")
        if not same:
            out.print("The verifier inside the file is not the one of this version: do not run it without reading it.")
        if not same_words:
            out.print("README.txt inside the file is not what this version writes: do not rely on what it says.")
    raise typer.Exit(report.exit_code)


def _chosen(log: Any, size: int, assets: list[str], low: int | None, high: int | None) -> tuple[list[int], list[str]]:
    """Indexes of entries below ``size``, and ids of the assets that are released among them."""
    from ...provenance.identity import AssetId
    from ...provenance.log.bundle_verifier import MAX_ENTRIES
    from ...provenance.log.search import Query
    from ..released import released_asset

    if low is not None and low >= size:
        raise InputError(f"--from is beyond the log, which has {size} entries", code="input.bundle")
    if not assets or low is not None or high is not None:
        start, stop = low or 0, size if high is None else min(high, size)
        if stop - start > MAX_ENTRIES:
            raise InputError(f"a bundle takes at most {MAX_ENTRIES} entries", code="input.bundle")
        indexes = set(range(start, stop))
    else:
        indexes = set()
    for text in assets:
        found = released_asset(log, AssetId.parse(text))
        if found.index >= size:
            raise LogError(f"{text} was released after this checkpoint", code="log.bundle", hint="Try again.")
        indexes |= {index for index, _ in log.search(Query(intent=found.intent), 0, size)}
    chosen = sorted(indexes)
    released = [
        str(entry["asset_id"])
        for index in chosen
        if (entry := log.entry(index)).get("type") == "release" and entry.get("asset_id")
    ]
    return chosen, released


def _enclosures(opened: Any, indexes: list[int], assets: list[str]) -> Enclosures:
    from ...provenance.catalog import Catalog
    from ...provenance.database import session
    from ...provenance.identity import AssetId
    from ...provenance.log.bundle import Enclosures
    from ..released import released_asset

    records, manifests = {}, {}
    with session(opened.log.engine) as rows:
        catalog = Catalog(rows)
        for asset in assets:
            ident = AssetId.parse(asset)
            if (note := released_asset(opened.log, ident).note) is not None:
                records[asset] = note
            stores = catalog.manifests(ident)
            manifests[asset] = [stores[label] for label in sorted(stores)]
    chain = opened.keys.folder / "claim.pem"
    certificates = [chain.read_bytes()] if chain.exists() and manifests else []
    return Enclosures(records, manifests, certificates, _policies(opened, indexes))


def _policies(opened: Any, indexes: list[int]) -> list[bytes]:
    """The packs at hand (built in, and the one in use) that these entries name."""
    from hashlib import sha256
    from importlib.resources import files

    from ...provenance.log.bundle_enclosed import policy_digests

    wanted = set(policy_digests(opened.log.entry(index) for index in indexes))
    packs = [item for item in files("filigrana.safety.packs").iterdir() if item.name.endswith(".yaml")]
    found = [item.read_bytes() for item in packs]
    chosen = Path(opened.settings.policy)
    if chosen.is_file():
        found.append(chosen.read_bytes())
    return [data for data in found if sha256(data).hexdigest() in wanted]
