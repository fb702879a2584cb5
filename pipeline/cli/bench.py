"""`filigrana watermark bench`: the robustness report that a release ships and an auditor prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from ...errors import FiligranaError

EXTRA = "pip install 'filigrana[bench]'"
"""What brings the photographs of scikit-image and scikit-learn, the plots, and the perceptual metric."""


def _require() -> None:
    from importlib.util import find_spec

    absent = [name for name in ("skimage", "sklearn", "matplotlib") if find_spec(name) is None]
    if absent:
        raise FiligranaError(
            f"the bench needs packages that are not installed: {', '.join(absent)}", code="bench.extra", hint=EXTRA
        )


def _numbers(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 256:
        raise FiligranaError(
            f"{text!r} is no list of sizes", code="bench.sizes", hint="Give sizes of 256 px and more: 512,1024,2048."
        )
    return sizes


def _chosen_attacks(groups: list[str], quick: bool) -> tuple[str, ...]:
    from ..bench.attacks import ATTACKS, GROUPS
    from ..bench.plan import QUICK_ATTACKS

    names = {attack.name for attack in ATTACKS}
    for group in groups:
        if group not in GROUPS and group not in names:
            raise FiligranaError(
                f"there is no attack or group {group!r}", code="bench.attacks", hint=f"Groups: {', '.join(GROUPS)}."
            )
    wanted = tuple(a.name for a in ATTACKS if a.group in groups or a.name in groups)
    return wanted or (QUICK_ATTACKS if quick else ())


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="A few pictures, attacks and clips: minutes.")] = False,
    sizes: Annotated[str, typer.Option(help="Short sides in px, with commas between.")] = "512,1024,2048",
    count: Annotated[Optional[int], typer.Option(min=1, help="Photographs a size; 24.")] = None,  # noqa: UP045
    generated: Annotated[Optional[int], typer.Option(min=0, help="Pictures by the embedded generator; 100.")] = None,  # noqa: UP045
    codec: Annotated[Optional[list[str]], typer.Option(help="The first is judged. All that there are.")] = None,  # noqa: UP045
    split: Annotated[str, typer.Option(help="test or tuning.")] = "test",
    attacks: Annotated[Optional[list[str]], typer.Option(help="Groups or names of attacks on pictures.")] = None,  # noqa: UP045
    only: Annotated[Optional[list[str]], typer.Option(help="picture, art, speed, removal, video, sound, null.")] = None,  # noqa: UP045
    null: Annotated[Optional[int], typer.Option(min=0, help="Unmarked decodes; 2,000.")] = None,  # noqa: UP045
    clips: Annotated[Optional[int], typer.Option(min=0, help="Video clips; 6.")] = None,  # noqa: UP045
    folder: Annotated[Path, typer.Option("--output", "-o", help="Where the report goes, and the run goes on.")] = Path(
        "bench-out"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice; another seed is another run.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes of one thread each.")] = 1,
    json_: Annotated[bool, typer.Option("--json", help="The report on standard output, nothing else.")] = False,
) -> None:
    """Measures what the watermark survives, and what it costs: report.json and report.html in a folder.

    A run that was stopped goes on when it is started again with the same folder. Exit codes: 0 every bar met, 5 not,
    1 error.
    """
    _require()
    from collections import Counter
    from typing import cast

    from ..bench.peers import PEERS, installed_peers, own_codecs
    from ..bench.pictures import missing
    from ..bench.plan import SECTIONS, BenchSettings, Kind
    from ..bench.report import write
    from ..bench.runner import run
    from .output import emit_json

    known = own_codecs()
    named = tuple(codec or (known[:1] if quick else [*known, *installed_peers()]))
    for name in named:
        if name not in known and name not in PEERS:
            raise FiligranaError(
                f"there is no codec {name!r}", code="bench.codec", hint=f"Known: {', '.join([*known, *PEERS])}"
            )
    if split not in ("test", "tuning"):
        raise FiligranaError(f"there is no split {split!r}", code="bench.split", hint="It is test or tuning.")
    sections = tuple(only or SECTIONS)
    for section in sections:
        if section not in SECTIONS:
            raise FiligranaError(
                f"there is no section {section!r}", code="bench.section", hint=f"Sections: {', '.join(SECTIONS)}."
            )

    def given(value: int | None, usual: int, small: int) -> int:
        return value if value is not None else small if quick else usual

    settings = BenchSettings(
        codecs=named,
        cache=folder / "cache",
        sizes=_numbers("512" if quick and sizes == "512,1024,2048" else sizes),
        count=given(count, 24, 4),
        generated=given(generated, 100, 4),
        beside=2 if quick else 8,
        null=given(null, 2000, 40),
        targets=2 if quick else 8,
        collected=8 if quick else 50,
        clips=given(clips, 6, 1),
        clip_seconds=6.0 if quick else 10.0,
        sounds=2 if quick else None,
        split="tuning" if split == "tuning" else "test",
        seed=seed,
        attacks=_chosen_attacks(attacks or [], quick),
        sections=cast("tuple[Kind, ...]", sections),
    )
    if not json_:
        told = Counter((m.source.package, m.reason, m.command) for m in missing(settings.split))
        for (package, reason, command), number in told.items():
            _say(f"{number} pictures of {package}: {reason} ({command})")
    folder.mkdir(parents=True, exist_ok=True)
    with _bar(json_) as tell:
        results = run(settings, folder, jobs=jobs, tell=tell)
    report = write(settings, results, folder)
    if json_:
        emit_json(report)
    else:
        _show(report, folder)
    # A run of sections that have no bars, without an error, has missed none.
    judged = bool(report["bars"]) or bool(report["errors"])
    raise typer.Exit(5 if judged and not report["met"] else 0)


def _say(text: str) -> None:
    from rich.markup import escape

    from .output import err

    err.print(escape(text), style="yellow")


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    if quiet:
        yield lambda _done, _total, _last: None
        return
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from .output import err

    columns = (BarColumn(28), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("[dim]{task.description}"))
    with Progress(*columns, console=err) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total, last: progress.update(
            task, completed=done, total=total, description=escape(last[:60])
        )


def _show(report: dict[str, Any], folder: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    from .output import out

    table = Table(box=None, padding=(0, 2))
    for head in ("", "asked", "measured", ""):
        table.add_column(head, justify="right" if head in ("asked", "measured") else "left")
    for bar in report["bars"]:
        value = "none" if bar["value"] is None else f"{bar['value']:.4g}"
        met = "[green]met[/green]" if bar["met"] else "[red]not met[/red]"
        table.add_row(escape(bar["name"][:70]), f"{bar['bar']:g}", value, met)
    out.print(table)
    for error in report["errors"]:
        _say(f"not measured: {error['kind']} {error['codec']}: {error['error']}. {error['hint']}")
    out.print(f"{folder / 'report.html'}")
