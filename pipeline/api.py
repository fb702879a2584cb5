"""What Python users call: `Pipeline`, `verify`, `Watermark`. Imported lazily from `filigrana`."""

from __future__ import annotations

import atexit
import datetime as dt
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from ..errors import InputError
from ..provenance.asked import Asked
from ..provenance.finding import Finding
from ..provenance.identity import AssetId
from ..provenance.manifest import SourceType
from ..provenance.media import MIME_BY_SUFFIX, Frame
from ..provenance.watermark.base import RGB, Detection
from ..provenance.watermark.registry import codec
from ..safety.policy import Pack
from .engine import Engine
from .installation import Installation
from .parts import Parts
from .publishing import published_if_due
from .request import GenerateRequest, Outcome, Progress, SealRequest, no_progress
from .resuming import approve, go_on
from .review import Desk
from .review_case import Case
from .reviewing import sweep_quietly
from .settings import Settings, load_settings
from .staging import Recovered
from .waiting import Stamped, stamp, stamp_quietly, stamping_parts

T = TypeVar("T")

if TYPE_CHECKING:
    from .generators.embedded.unknown import UnknownWord


def mime_for(path: Path | str) -> str:
    """The MIME type that a file name's suffix asks for. Raises InputError for one that we do not write."""
    suffix = Path(path).suffix.lower()
    if suffix not in MIME_BY_SUFFIX:
        raise InputError(
            f"files are not written as {suffix or 'a name without a suffix'}",
            code="input.suffix",
            hint=f"Written: {', '.join(MIME_BY_SUFFIX)}.",
        )
    return MIME_BY_SUFFIX[suffix]


_MOST_READ = 10_000


def _can_be_read(prompt: str) -> bool:
    """Whether a prompt is text of a sane length: what isn't is refused where prompts are judged, with its reason."""
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return len(prompt) <= _MOST_READ


class Pipeline:
    """The whole chain of one installation.

    >>> with Pipeline() as pipeline:                                          # doctest: +SKIP
    ...     outcome = pipeline.generate("a red sailboat on a blue sea", seed=7)
    ...     if outcome.released:
    ...         print(outcome.file, outcome.asset_id)

    ``settings``: a Settings value, or None for `filigrana.toml` and FILIGRANA_*. Left-overs of processes that died
    are ended when the pipeline opens. Safe for threads.
    """

    def __init__(self, settings: Settings | None = None, **overrides: Any) -> None:
        if settings is None:
            settings = load_settings(**overrides)
        elif overrides:
            raise InputError("give settings or single settings, not both")
        self.installation = Installation(settings)
        self._generator: Any = None
        self._engine: Engine | None = None
        self._making = threading.RLock()
        self.recovered: Recovered | None = None

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.installation.close()

    @property
    def generator(self) -> Any:
        """The configured generator; its weights are loaded at the first picture."""
        if self._generator is None:
            from .generators.remote import is_remote, remote

            if is_remote(self.installation.settings.model):
                key = self.installation.settings.remote_key
                secret = None if key is None else key.get_secret_value()
                self._generator = remote(self.installation.settings, secret, self.installation.limits)
                return self._generator
            from .generators.diffusers import DiffusersGenerator
            from .generators.memory import Memory
            from .generators.registry import home_of

            settings = self.installation.settings
            home = home_of(settings.model, settings.data_dir)
            memory = Memory(settings.offload, settings.weights, settings.step_cache, settings.vae_tiling)
            self._generator = DiffusersGenerator(home, device=settings.device, dtype=settings.dtype, memory=memory)
        return self._generator

    @property
    def engine(self) -> Engine:
        """The engine under the policy that is in force now. A request keeps the engine, and so the pack, that it began
        with. Raises PolicyError while no policy is in force."""
        with self._making:
            if self._engine is None:
                self._engine = Engine(self.parts())
                self.recovered = self._engine.recover()
            elif (pack := self.installation.pack).ref != self._engine.parts.pack.ref:
                self._engine = Engine(replace(self._engine.parts, **self._judging(pack)))
            return self._engine

    def _judging(self, pack: Pack) -> dict[str, Any]:
        """The parts that hang on the policy."""
        house = self.installation
        return {
            "pack": pack,
            "text_guards": house.text_guards(pack),
            "frame_guards": lambda generated: house.frame_guards(generated, pack),
        }

    def parts(self) -> Parts:
        """The engine's parts as the settings ask for them."""
        house = self.installation
        return Parts(
            ledger=house.ledger,
            generator=self.generator,
            finisher=house.finisher,
            staging=house.staging,
            store=house.store,
            clock=house.clock,
            guard_timeout=house.settings.guard_timeout,
            stage_timeout=house.settings.stage_timeout,
            cpu_watts=house.settings.cpu_watts,
            publish_prompt=house.settings.publish_prompt,
            agreement=house.agreement(),
            sound_guard=house.sound_guard(),
            **self._judging(house.pack),
        )

    def unknown_words(self, prompt: str) -> list[UnknownWord]:
        """The words of a prompt that the model in use never learned, as far as it can tell; for people to see before
        it draws."""
        ask = getattr(self.generator, "unknown_words", None)
        return [] if ask is None or not _can_be_read(prompt) else list(ask(prompt))

    @property
    def makes_sound(self) -> bool:
        """Whether the model in use gives its clips sound; loads no weights."""
        return bool(getattr(self.generator, "sound", False))

    def understood(self, prompt: str) -> dict[str, tuple[str, float]]:
        """What the model in use takes a prompt to say, as far as it can tell: an answer and its likelihood, 0..1, for
        each attribute. It goes into no record: it would give away what a prompt says."""
        ask = getattr(self.generator, "understood", None)
        return {} if ask is None or not _can_be_read(prompt) else dict(ask(prompt))

    def generate(self, prompt: str, *, progress: Progress = no_progress, **options: Any) -> Outcome:
        """From a prompt to a Release, a Refusal or a Held. ``options``: the fields of GenerateRequest."""
        engine = self.engine
        before(engine)
        options.setdefault("subject", self.installation.settings.user)
        outcome = engine.generate(_request(GenerateRequest, prompt=prompt, **options), progress)
        published_if_due(self.installation)
        return outcome

    def seal(
        self, path: Path | str, *, source_type: SourceType, progress: Progress = no_progress, **options: Any
    ) -> Outcome:
        """Seals a finished file: judged, marked, signed, recorded, released. It is never called AI unless it is."""
        options.setdefault("subject", self.installation.settings.user)
        request = _request(SealRequest, path=Path(path), source_type=source_type, **options)
        engine = self.engine
        before(engine)
        outcome = engine.seal(request, progress)
        published_if_due(self.installation)
        return outcome

    @property
    def desk(self) -> Desk:
        """Held work and appeals: what waits for people, and what they say. `review_approve` goes on with it."""
        return Desk(self.installation.ledger, self.installation.pack)

    def review_approve(self, intent: UUID, by: str, reason: str, progress: Progress = no_progress) -> Outcome | Case:
        """One person's approval. With the last that is needed the request goes on: an Outcome then, else the Case."""
        return self._reviewed(approve(self.engine, intent, by, reason, progress))

    def review_resume(self, intent: UUID, progress: Progress = no_progress) -> Outcome:
        """Goes on with what was approved, and was interrupted."""
        return self._reviewed(go_on(self.engine, intent, progress))

    def _reviewed(self, found: T) -> T:
        published_if_due(self.installation)
        return found

    def stamp_pending(self) -> list[Stamped]:
        """Finishes what waits for a time-stamp, and says what came of each: see :func:`.waiting.stamp`."""
        found = list(stamp(stamping_parts(self.installation)))
        published_if_due(self.installation)
        return found

    def verify(self, source: Path | str | bytes, *, at: dt.datetime | None = None) -> Finding:
        """The finding for a file or its bytes, with this installation's trust and catalog. ``at``: as of that time."""
        return self.installation.inspector.verify(source, Asked(at))


def before(engine: Engine) -> None:
    """What other requests left to do: nothing of it delays or fails this one."""
    stamp_quietly(engine.parts)
    sweep_quietly(engine.parts)


def _request(kind: Any, **options: Any) -> Any:
    try:
        return kind(**options)
    except TypeError as error:
        raise InputError(f"unknown option: {str(error).rsplit(') ', 1)[-1]}", code="input.option") from error


def verify(source: Path | str | bytes, settings: Settings | None = None, *, at: dt.datetime | None = None) -> Finding:
    """Where is this from? The finding for a file or its bytes. Loads no torch, makes nothing, and reads the file in a
    confined process, which is kept for the next call with the same settings."""
    return _shared(settings or load_settings()).inspector.verify(source, Asked(at))


_installations: dict[str, Installation] = {}
_opening = threading.Lock()


def _shared(settings: Settings) -> Installation:
    """One installation for all calls with the same settings; the youngest few are kept."""
    secret = settings.watermark_key
    key = repr((settings, None if secret is None else secret.get_secret_value()))
    with _opening:
        found = _installations.pop(key, None) or Installation(settings)
        _installations[key] = found
        while len(_installations) > 4:
            _installations.pop(next(iter(_installations))).close()
    return found


@atexit.register
def _close_shared() -> None:
    while _installations:
        _installations.popitem()[1].close()


class Watermark:
    """The default watermark codec for pictures. ``key=None``: the published detection key, so that everybody's
    verifier reads the mark, and a mark alone proves nothing until it resolves."""

    def __init__(self, key: bytes | None = None) -> None:
        self._codec = codec(key=key)

    @property
    def alg(self) -> str:
        return self._codec.alg

    def embed(self, rgb: RGB, asset_id: AssetId) -> RGB:
        """``rgb``: uint8 (h, w, 3). Returns the marked picture of the same shape."""
        return next(iter(self._codec.embed([Frame(rgb)], asset_id))).rgb

    def detect(self, rgb: RGB) -> Detection:
        """``rgb``: uint8 (h, w, 3), any size."""
        return self._codec.detect([Frame(rgb)])
