"""`filigrana replay`, `doctor` and `demo`."""

from __future__ import annotations

from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from ...errors import FiligranaError
from .state import installation, options_given, pipeline, settings

JSON = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


def replay(
    asset: Annotated[str, typer.Argument(help="The id of an asset that was generated here.")],
    json_: JSON = False,
) -> None:
    """Generates an asset again from its record, and says whether the pixels before marking are the same.

    Exit codes: 0 identical, 5 not, 1 error (unknown, sealed, or its prompt was erased).
    """
    from ...provenance.identity import AssetId
    from ..replay import replay as run
    from .output import emit_json, out, progress_bars

    ident = AssetId.parse(asset)
    with pipeline() as opened, progress_bars(json_) as tell:
        result = run(opened.installation.log, opened.generator, ident, lambda at, of: tell("replay", at, of))
        tell("replay", 1, 1)
    if json_:
        emit_json(result.as_dict())
    elif result.identical:
        out.print(f"[green]identical[/green]: {ident}, pixels {result.now[:24]}…")
    else:
        out.print(f"[red]not identical[/red]: {result.recorded[:24]}… then, {result.now[:24]}… now")
    if not json_:
        for difference in result.differences:
            out.print(f"  {escape(difference)}")
    raise typer.Exit(0 if result.identical else 5)


def doctor(json_: JSON = False) -> None:
    """Checks what this installation needs, and says what to do about what is missing. Exit codes: 0 fit, 1 not."""
    from ..settings_told import shown, told
    from .output import emit_json, out

    checks: list[tuple[str, bool, str]] = []

    def check(name: str, work: Any) -> None:
        try:
            checks.append((name, True, str(work())))
        except FiligranaError as error:
            checks.append((name, False, f"{error.message}. {error.hint}".strip()))
        except Exception as error:  # noqa: BLE001  a doctor reports whatever is broken
            checks.append((name, False, f"{type(error).__name__}: {str(error)[:160]}"))

    used = settings()
    check("version", lambda: metadata.version("filigrana"))
    check("settings", lambda: f"data folder {used.data_dir}")
    for package in ("torch", "diffusers", "open_clip", "imwatermark"):
        present = find_spec(package) is not None
        checks.append((f"package {package}", present, "installed" if present else "pip install 'filigrana[generate]'"))
    with installation() as opened:
        check("keys", lambda: f"made {', '.join(made)}" if (made := opened.ensure_keys()) else "all there")
        check("claim certificate", lambda: _days_left(opened))
        check("audit log", lambda: f"{opened.log.size()} entries")
        check("publishing", lambda: opened.publishing.summary())
        check("store", lambda: _store(opened))
        check("policy", lambda: f"{opened.pack.ref.id} {opened.pack.ref.version}")
        check("time-stamps", lambda: _stamp(opened))
        check("waiting for one", lambda: f"{len(opened.ledger.waiting())} requests (`filigrana keys stamp-pending`)")
        check("reading files", lambda: _confined(opened))
        check("trust lists", lambda: _lists(opened))
        check("generator", lambda: _generator(used))
        check("guards", lambda: _guards(opened))
        check("guards of prompts", lambda: _text_guards(opened))
        check("guard of sound", lambda: _sound_guard(opened))
    fit, given = all(ok for _, ok, _ in checks), told(used, options_given())
    if json_:
        emit_json(
            {
                "fit": fit,
                "checks": [{"name": n, "ok": ok, "detail": d} for n, ok, d in checks],
                "settings": {k: shown(v) for k, v in used.model_dump().items()},
                "set_by": {one.name: one.source for one in given},
            }
        )
    else:
        for name, ok, detail in checks:
            out.print(f"{'[green]✓[/green]' if ok else '[red]✗[/red]'} {name:<20} {escape(detail)}")
        for one in given:
            out.print(f"[dim]· set[/dim] {one.name} = {escape(one.value)} [dim]({escape(one.source)})[/dim]")
    raise typer.Exit(0 if fit else 1)


def _days_left(opened: Any) -> str:
    from cryptography import x509

    leaf = x509.load_pem_x509_certificates(opened.signer().chain_pem.encode())[0]
    left = (leaf.not_valid_after_utc - opened.clock()).days
    if left < 0:
        raise FiligranaError("the claim-signing certificate has expired", hint="Put a new one into the key folder.")
    return f"valid for {left} days"


def _store(opened: Any) -> str:
    opened.store.ready()
    return str(opened.store.where(""))


def _stamp(opened: Any) -> str:
    import httpx

    from ..timestamp_check import stamp_once

    with opened.tsa() as url:
        try:
            return stamp_once(url)
        except httpx.HTTPError as error:
            raise FiligranaError("no time-stamp authority answers", hint="Check the setting tsa_url.") from error


def _confined(opened: Any) -> str:
    """Reads a file of ours in a confined child, and says what confines it here."""
    from ...provenance.isolation.confine import available

    photo = resources.files("filigrana.pipeline.cli") / "photo.jpg"
    finding = opened.inspector.verify(photo.read_bytes())
    if finding.finding == "unreadable":
        raise FiligranaError(f"the confined reader cannot read: {finding.evidence[0].detail}")
    could = available()
    files = f"Landlock (ABI {could.files})" if could.files else "no Landlock: other files are within its reach"
    network = "seccomp" if could.network else "no seccomp: the network is within its reach"
    return f"in a child of its own: {files}, {network}, limits of memory and time"


def _lists(opened: Any) -> str:
    levels = [item.level for item in opened.trust.claim]
    official = "installed" if "c2pa" in levels else "none (`filigrana trust update FILE`)"
    return f"official claim list: {official}; configured: {levels.count('configured')}"


def _generator(used: Any) -> str:
    from ..generators.registry import home_of
    from ..generators.remote import is_remote

    if is_remote(used.model):
        return f"{used.model.partition('#')[0]}, which is not asked now"
    return home_of(used.model, used.data_dir).model.name


def _guards(opened: Any) -> str:
    """Has the judge look at a frame, as it would at a generated one."""
    import numpy as np

    from ...errors import SafetyError
    from ...safety.output import OutputJudge

    judge = OutputJudge(
        opened.pack, opened.frame_guards(True), origin="generated", text_guards=opened.text_guards(opened.pack)
    )
    frame = np.full((256, 256, 3), 128, np.uint8)
    judge.watch(frame, 0.0)
    judge.look(frame)
    runs = judge.decision().guards
    if failed := [f"{run.guard} ({run.error})" for run in runs if run.error]:
        raise SafetyError(f"no answer from {', '.join(failed)}", hint="pip install 'filigrana[generate]'")
    return ", ".join(run.guard for run in runs)


def _sound_guard(opened: Any) -> str:
    """Has the recogniser hear a second of silence."""
    import numpy as np

    from ...errors import SafetyError
    from ...safety.sound import judge_sound
    from ...safety.speech import RATE

    guard = opened.sound_guard()
    if guard is None:
        return f"none: the setting speech_model; the policy says {opened.pack.document.unjudged_sound}"
    decision = judge_sound(opened.pack, guard, lambda: [np.zeros(RATE, np.float32)])
    if failed := [f"{run.guard} ({run.error})" for run in decision.guards if run.error]:
        raise SafetyError(f"no answer from {', '.join(failed)}", hint="Check the setting speech_model.")
    return str(guard.name)


def _text_guards(opened: Any) -> str:
    """Asks each for a score, as a prompt would."""
    from ...errors import SafetyError
    from ...safety.decision import checked_scores

    pack = opened.pack
    guards = {guard.name: guard for guard in opened.text_guards(pack)}
    missing = [name for name in pack.requires.prompt if name != "lexicon" and name not in guards]
    if missing:
        raise SafetyError(f"missing: {', '.join(missing)}", hint="Name them in the setting `guards`: docs/guards.md.")
    for guard in guards.values():
        checked_scores(guard.name, dict(guard.score("a red sailboat on a blue sea")))
    return ", ".join(["lexicon", *guards])


def demo(
    folder: Annotated[Path, typer.Option("--output", "-o", help="Where the files go.")] = Path("demo-out"),
    prompt: Annotated[str, typer.Option(help="What to make.")] = "a red ball bounces on a green hill",
) -> None:
    """The main job, start to end: a prompt to a released clip with sound, and what verify says of it and of copies."""
    from ..demo import run_demo

    folder.mkdir(parents=True, exist_ok=True)
    photo = resources.files("filigrana.pipeline.cli") / "photo.jpg"
    raise typer.Exit(run_demo(folder, prompt, photo.read_bytes()))
