"""`filigrana verify`: where is this file from?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from .state import installation

_FILES_IN_A_FOLDER = 100_000


def verify(
    files: Annotated[list[str], typer.Argument(help="Files, folders, or (with --url) URLs.")],
    json_: Annotated[bool, typer.Option("--json", help="One JSON list on standard output, nothing else.")] = False,
    crjson: Annotated[
        bool, typer.Option("--crjson", help="The C2PA validation of each file as crJSON, one JSON list.")
    ] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a report with pictures and evidence here.")] = None,
    catalog: Annotated[
        list[str] | None, typer.Option("--catalog", help="Another catalog to ask: URL, or 'URL LOG-KEY'. Repeatable.")
    ] = None,
    at: Annotated[str | None, typer.Option("--at", help="Validate as of this time (RFC 3339), not as of now.")] = None,
    url: Annotated[bool, typer.Option("--url", help="Arguments may be http(s) URLs, which are fetched.")] = False,
    sidecar: Annotated[
        Path | None,
        typer.Option("--sidecar", help="The file's manifest store; default: the .c2pa beside it."),
    ] = None,
    lang: Annotated[str, typer.Option("--lang", help="Language of the words: en, zh, es, fr, de.")] = "en",
    brief: Annotated[bool, typer.Option("--brief", help="The finding in plain words, without the evidence.")] = False,
) -> None:
    """One finding a file, with its evidence. Each file is read in a confined process; without --url and --catalog, and
    with no `catalogs` in the settings, no connection is opened.

    Exit codes: 0 verified, 7 recovered, 3 intact, 4 unmarked, 6 unreadable, 5 altered or contradicted, 1 error; of
    several files the worst, in the order 1, 5, 6, 4, 3, 7, 0.
    """
    from ...errors import InputError
    from ...provenance.asked import Asked
    from ...provenance.finding import EXIT_CODES, Finding, worst_exit_code
    from .output import checking, emit_json, show_finding

    moment = _time(at)
    _check_language(lang)
    if html is not None:
        from ..store import check_target

        check_target(html)  # before minutes of work, not after
    with installation(catalogs=_with(catalog)) as opened, ExitStack() as stack:
        inspector = opened.inspector  # its reader loads while the rest is made ready
        sources = list(_sources(files, url, opened, stack))
        if sidecar is not None and len(sources) != 1:
            raise InputError("--sidecar goes with exactly one file", code="input.option")
        asked = Asked(moment, sidecar, crjson, thumbnail=html is not None)
        findings: list[Finding] = []
        quiet = json_ or crjson
        with checking(len(sources), quiet or len(sources) < 2) as tick:
            for name, path in sources:
                finding = inspector.verify(path, asked).named(name)
                findings.append(finding)
                tick(name)
                if not quiet:
                    show_finding(finding, language=lang, brief=brief)
        if html is not None:
            from ..report import write_report

            write_report(html, findings, opened.resolvers(), lang)
    if crjson:
        emit_json([{"file": finding.file, "crjson": finding.crjson} for finding in findings])
    elif json_:
        emit_json([finding.as_dict(lang) for finding in findings])
    elif len(findings) > 1:
        _count(findings)
    raise typer.Exit(worst_exit_code([EXIT_CODES[finding.finding] for finding in findings]))


def _with(catalogs: list[str] | None) -> list[str] | None:
    """Those of the settings and those of the command line."""
    if not catalogs:
        return None
    from .state import settings

    return [*settings().catalogs, *catalogs]


def _check_language(name: str) -> None:
    from ...errors import InputError
    from ...provenance.words import languages

    if name not in languages():
        raise InputError(
            f"there are no words in {name[:20]}", code="input.lang", hint=f"One of: {', '.join(languages())}."
        )


def _time(text: str | None) -> datetime | None:
    from ...errors import InputError

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{text[:40]} is no time", code="input.time", hint="Write it as in 2026-11-24T12:00:00Z."
        ) from error
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    if not 1970 < moment.year < 2200:
        raise InputError("--at takes times from 1971 to 2199", code="input.time")
    return moment


def _sources(files: list[str], url: bool, opened: Any, stack: ExitStack) -> Iterator[tuple[str, Path]]:
    """(what to call it, where its bytes lie) of everything that was named."""
    from ...errors import InputError

    for text in files:
        if text.startswith(("http://", "https://")):
            if not url:
                raise InputError(
                    "an address was given, and nothing is fetched unless you say so",
                    code="input.url",
                    hint="Add --url.",
                )
            yield text, _fetched(text, opened, stack)
        elif Path(text).is_dir():
            found = _files_of(Path(text))
            # An empty one is answered like a file that holds nothing: of several, the others are still looked at.
            yield from ((str(path), path) for path in found or [Path(text)])
        else:
            yield text, Path(text)


def _files_of(folder: Path) -> list[Path]:
    """The files in a folder and below that could be media, by name; manifest stores belong to their files."""
    from ...errors import InputError
    from ...provenance.media.values import MIME_BY_SUFFIX

    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MIME_BY_SUFFIX and path.is_file())
    if len(found) > _FILES_IN_A_FOLDER:
        raise InputError(f"{folder} holds more than {_FILES_IN_A_FOLDER} files", code="input.folder")
    return found


def _fetched(url: str, opened: Any, stack: ExitStack) -> Path:
    from ...provenance.scratch import ScratchFolder
    from ..fetching import Allowed, FetchLimits, fetch_to

    settings = opened.settings
    limits = FetchLimits(
        bytes=settings.fetch_max_bytes,
        seconds=settings.fetch_seconds,
        allowed=Allowed.parse(settings.fetch_allow),
    )
    target = stack.enter_context(ScratchFolder()) / "fetched"
    fetch_to(target, url, limits)
    return target


def _count(findings: list[Any]) -> None:
    from collections import Counter

    from .output import out

    counted = Counter(finding.finding for finding in findings)
    out.print(f"{len(findings)} files: " + ", ".join(f"{count} {word}" for word, count in counted.most_common()))
