"""`filigrana generate` and `filigrana seal`: to a released asset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.markup import escape

from ...errors import InputError
from .state import check_output, pipeline

if TYPE_CHECKING:
    from ..api import Pipeline
    from ..request import Outcome

_SURE, _OPEN = 0.8, 0.5
"""From which likelihood on an answer is sure; below which a caption leaves it open."""
EXIT_BLOCKED, EXIT_HELD, EXIT_REWRITE = 10, 11, 12
OUT = Annotated[Path, typer.Option("--output", "-o", help="The file to write; with --count, a folder.")]
PROFILES = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--profile", help="A law that it fulfils: eu, us-ca, us-ny, cn, in, kr; several are allowed."),
]
UNLABELLED = Annotated[
    bool,
    typer.Option(
        "--unlabelled-consent",
        help="No visible label, where a profile lets one: whoever asks agrees to label it themselves. Logged.",
    ),
]
JSON = Annotated[bool, typer.Option("--json", help="One JSON value a result on standard output, nothing else.")]


def generate(
    prompt: Annotated[str, typer.Argument(help="What to make. `-` reads it from standard input.")],
    output: OUT,
    seed: Annotated[Optional[int], typer.Option(help="The same seed gives the same picture.")] = None,  # noqa: UP045
    media: Annotated[str | None, typer.Option(help="image, video, av or audio; else by -o's suffix.")] = None,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many, with seeds counted up.")] = 1,
    best_of: Annotated[int, typer.Option(min=1, max=64, help="Make several, keep what fits the prompt best.")] = 1,
    steps: Annotated[Optional[int], typer.Option(help="Sampling steps.")] = None,  # noqa: UP045
    guidance: Annotated[Optional[float], typer.Option(help="How strictly the prompt is followed.")] = None,  # noqa: UP045
    size: Annotated[Optional[str], typer.Option(help="WIDTHxHEIGHT in px.")] = None,  # noqa: UP045
    negative_prompt: Annotated[Optional[str], typer.Option(help="What not to show.")] = None,  # noqa: UP045
    accept_rewrite: Annotated[Optional[str], typer.Option(help="Accept the rewrite of this digest.")] = None,  # noqa: UP045
    policy: Annotated[Optional[str], typer.Option(help="A policy pack: a name or a path.")] = None,  # noqa: UP045
    model: Annotated[Optional[str], typer.Option(help="embedded, a diffusers folder, or a hub id.")] = None,  # noqa: UP045
    publish_prompt: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option("--publish-prompt/--no-publish-prompt", help="Write the prompt's text into the file."),
    ] = None,
    profile: PROFILES = None,
    unlabelled: UNLABELLED = False,
    json_: JSON = False,
) -> None:
    """From a prompt to a released, signed, marked and logged picture.

    Exit codes: 0 released, 10 blocked, 11 held (for a human, or a time-stamp), 12 a rewrite is offered, 1 error.
    """
    from ...provenance.media import kind_of_mime
    from .state import read_text

    text = read_text() if prompt == "-" else prompt
    options: dict[str, Any] = {
        "steps": steps,
        "guidance": guidance,
        "size": _size(size),
        "negative_prompt": negative_prompt,
        "best_of": best_of,
        "accept_rewrite": accept_rewrite,
        "unlabelled": unlabelled,
    }
    with pipeline(policy=policy, model=model, publish_prompt=publish_prompt, profiles=profile or None) as opened:
        if count == 1:
            _check_media(media, output)
        mime = _mime(media, None if count > 1 else output)
        # a clip has sound where nobody says otherwise and the model can
        options["sound"] = media == "av" or (media is None and kind_of_mime(mime) == "video" and opened.makes_sound)
        if count == 1:
            outcome, about = _one(opened, text, output, {**options, "seed": seed}, json_, mime)
            raise typer.Exit(report(outcome, json_, about))
        codes = []
        for number in range(count):
            each = {**options, "seed": None if seed is None else seed + number}
            outcome, about = _one(opened, text, output, each, json_, mime, folder=True)
            codes.append(report(outcome, json_, about))
        raise typer.Exit(max(codes))


def seal(
    file: Annotated[Path, typer.Argument(help="A picture, clip or sound that was made elsewhere.")],
    output: OUT,
    source_type: Annotated[str, typer.Option(help="camera, ai, composite or unknown.")],
    edited: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="What was done to it before, such as `cropped: the left edge`; several are allowed."),
    ] = None,
    component: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="A file that was put into it; several are allowed."),
    ] = None,
    policy: Annotated[Optional[str], typer.Option(help="A policy pack: a name or a path.")] = None,  # noqa: UP045
    profile: PROFILES = None,
    unlabelled: UNLABELLED = False,
    json_: JSON = False,
) -> None:
    """Seals a finished file: judged, marked, signed, logged, released. Existing credentials are kept.

    Exit codes: 0 released, 10 blocked, 11 held (for a human, or a time-stamp), 1 error.
    """
    from ...provenance.manifest import Edit
    from ..api import mime_for
    from .output import progress_bars

    if source_type not in ("camera", "ai", "composite", "unknown"):
        raise InputError("--source-type is camera, ai, composite or unknown", code="input.source_type")
    edits = tuple(Edit.parse(text) for text in edited or ())
    with pipeline(policy=policy, profiles=profile or None) as opened:
        check_output(output)
        with progress_bars(json_) as tell:
            outcome = opened.seal(
                file,
                source_type=source_type,  # type: ignore[arg-type]
                mime=mime_for(output),
                edits=edits,
                components=tuple(component or ()),
                unlabelled=unlabelled,
                progress=tell,
            )
        raise typer.Exit(report(_exported(outcome, output), json_))


def _one(
    opened: Pipeline, text: str, output: Path, options: dict[str, Any], json_: bool, mime: str, *, folder: bool = False
) -> tuple[Outcome, dict[str, Any]]:
    """What came of it, and what is said of the prompt beside it: nothing, where it never came to the model."""
    from .output import progress_bars

    if folder:
        output.mkdir(parents=True, exist_ok=True)
    else:
        check_output(output)
    about: dict[str, Any] = {}
    with progress_bars(json_) as tell:

        def told_first(stage: str, done: int, total: int) -> None:
            # a refused prompt isn't read by the model: what it takes it to say is known when drawing begins
            if stage == "generate" and not about:
                about.update(_about(opened, text))
                if not json_:
                    _show_understood(opened, text)
            tell(stage, done, total)

        outcome = opened.generate(text, mime=mime, progress=told_first, **options)
    if folder and outcome.released:
        output = output / outcome.file.name  # type: ignore[union-attr]
    return _exported(outcome, output), about


def _about(opened: Pipeline, text: str) -> dict[str, Any]:
    """What JSON adds to an outcome: the words that the model passes over, and what it takes the prompt to say."""
    understood = opened.understood(text).items()
    return {
        "unknown_words": [{"word": found.word, "nearest": list(found.nearest)} for found in opened.unknown_words(text)],
        "understood": {name: {"answer": answer, "likely": round(likely, 3)} for name, (answer, likely) in understood},
    }


def _show_understood(opened: Pipeline, text: str) -> None:
    """What the embedded model takes a prompt to say, and the words that it passes over, before it draws."""
    from .output import err

    for found in opened.unknown_words(text):
        nearest = f" (it knows {', '.join(found.nearest)})" if found.nearest else ""
        err.print(f"[yellow]the model does not know[/yellow] {escape(found.word)}{nearest}")
    if said := told(opened.understood(text)):
        err.print(f"[dim]understood:[/dim] {escape(said)}")


def told(understood: dict[str, tuple[str, float]]) -> str:
    """What a prompt was taken to say, in a line; what it leaves open is left out, and "?" marks what is not sure."""
    shown = {
        name: f"{answer}{'' if likely >= _SURE else '?'}"
        for name, (answer, likely) in understood.items()
        if likely >= _OPEN and answer not in ("", "none")
    }
    things = [
        " ".join(shown[name] for name in names if name in shown)
        for names in (("count", "size", "colour", "concept"), ("relation", "partner_colour", "partner"))
    ]
    rest = [shown[name] for name in ("motion", "cover", "place", "setting", "camera", "style") if name in shown]
    return ", ".join(part for part in (*things, *rest) if part)


def _exported(outcome: Outcome, target: Path) -> Outcome:
    """The released asset stays in the store; its author gets a copy."""
    from dataclasses import replace

    from ...provenance.sidecar import sidecar_path
    from ..request import Release
    from ..store import export

    if not isinstance(outcome, Release):
        return outcome
    sidecar = None
    if outcome.sidecar is not None:
        # First, so that the file never lies there without its credentials.
        sidecar = sidecar_path(target)
        export(outcome.sidecar, sidecar)
    export(outcome.file, target)
    return replace(outcome, file=target, sidecar=sidecar)


def report(outcome: Outcome, json_: bool, about: dict[str, Any] | None = None) -> int:
    """Says what came of it; `about` is added to the JSON. Returns the exit code."""
    from ...safety.decision import Verdict
    from ..request import WAITING, Held, Release
    from .output import emit_json, err, show_release

    if json_:
        emit_json(outcome.as_dict() | (about or {}))
    if isinstance(outcome, Release):
        if not json_:
            show_release(outcome)
        return 0
    verdict = Verdict.REVIEW if isinstance(outcome, Held) else outcome.decision.verdict
    if not json_:
        word = {
            Verdict.BLOCK: "blocked",
            Verdict.REVIEW: "held for a time-stamp" if outcome.code == WAITING else "held for a human",
            Verdict.REWRITE: "a rewrite is offered",
        }
        err.print(f"[red]{word[verdict]}[/red] [dim]({outcome.code})[/dim]")
        for reason in outcome.reasons:
            err.print(f"  {escape(reason)}")
        if (early := outcome.early) is not None:
            err.print(
                f"  stopped at step {early.step} of {early.steps}: {early.spent.joules:.1f} J spent, "
                f"about {early.saved.joules:.1f} J saved"
            )
        if outcome.decision.rewrite is not None:
            rewrite = outcome.decision.rewrite
            err.print(f"  offered: {escape(rewrite.prompt)}\n  accept it with --accept-rewrite {rewrite.digest}")
        asks = ", `filigrana appeal` asks a person to look again" if verdict is Verdict.BLOCK else ""
        err.print(
            f"  decided by {outcome.decision.policy.id} {outcome.decision.policy.version}, automatically; "
            f"request {outcome.intent}: `filigrana reasons` says why{asks}"
        )
    return {Verdict.BLOCK: EXIT_BLOCKED, Verdict.REVIEW: EXIT_HELD, Verdict.REWRITE: EXIT_REWRITE}[verdict]


def _mime(media: str | None, output: Path | None) -> str:
    """The type to write: by the file's name, or in a folder by --media."""
    from ..api import mime_for

    if output is not None:
        return mime_for(output)
    if media == "audio":
        raise InputError("no model makes sound alone", code="input.media")
    return "image/png" if media in (None, "image") else "video/mp4"


def _check_media(media: str | None, output: Path) -> None:
    """--media and the file name must agree; the model then says whether it can make that."""
    from ...provenance.media import kind_of_mime
    from ..api import mime_for

    if media is None:
        return
    kinds = {"image": "image", "video": "video", "av": "video", "audio": "audio"}
    if media not in kinds:
        raise InputError("--media is image, video, av or audio", code="input.media")
    if kind_of_mime(mime_for(output)) != kinds[media]:
        raise InputError(f"--media {media} does not fit the file name {output.name}", code="input.media")


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError as error:
        raise InputError("--size is WIDTHxHEIGHT, such as 512x512", code="input.size") from error
    return width, height
