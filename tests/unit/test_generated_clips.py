"""Clips with sound from a prompt through the whole chain, with a real pipeline class of tiny random weights."""

from __future__ import annotations

import gc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filigrana.errors import FiligranaError, GenerationError, InputError
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.generators.base import Sampling
from filigrana.pipeline.generators.clips import ArrayFrames, sound_file
from filigrana.pipeline.generators.diffusers import DiffusersGenerator
from filigrana.pipeline.replay import replay
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.provenance.media import open_media, read_sound
from tests.tiny_shots import tiny_shots

pytestmark = pytest.mark.generate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("shots") / "pipeline"
    tiny_shots(["a red ball bounces"]).save_pretrained(target, safe_serialization=True)
    return target


def quiet(_step: int, _steps: int) -> None:
    """Tells nobody."""


def sampling(**changes: Any) -> Sampling:
    return Sampling(**({"prompt": "a red ball", "seed": 3, "steps": 2, "size": (256, 256)} | changes))


def test_a_clip_has_two_seconds_of_frames_and_sound_and_can_be_gone_through_again(folder: Path) -> None:
    made = DiffusersGenerator(str(folder)).generate(sampling(kind="video", sound=True), quiet)
    first, second = list(made.frames), list(made.frames)
    assert len(first) == 32
    assert made.rate == 16
    assert [frame.time for frame in first[:2]] == [0, Fraction(1, 16)]
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(first, second, strict=True))
    assert made.sound is not None
    assert sum(len(block.samples) for block in read_sound(made.sound)) == 32000
    path = made.sound.path
    del made
    gc.collect()
    assert not path.exists()


def test_the_same_seed_gives_the_same_picture_as_a_clip_s_first_frame(folder: Path) -> None:
    generator = DiffusersGenerator(str(folder))
    still = next(iter(generator.generate(sampling(), quiet).frames))
    clip = generator.generate(sampling(kind="video"), quiet)
    assert clip.sound is None
    assert np.array_equal(still.rgb, next(iter(clip.frames)).rgb)


def test_a_clip_with_sound_is_released_marked_signed_and_replayed(
    folder: Path, make_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    generator = DiffusersGenerator(str(folder))
    engine = make_engine(generator=generator)
    request = GenerateRequest("a red ball", seed=4, steps=2, size=(256, 256), mime="video/mp4", sound=True)
    outcome = engine.generate(request)
    assert isinstance(outcome, Release), outcome
    media = open_media(outcome.file)
    assert (media.info.width, media.info.height) == (256, 256)
    assert len(list(media.frames())) == 32
    assert media.info.sound is not None
    result = replay(engine.parts.ledger.log, generator, outcome.asset_id, quiet)
    assert result.identical, result


def test_sound_is_refused_where_there_is_none(folder: Path, make_engine: Callable[..., Engine]) -> None:
    with pytest.raises(InputError, match="no sound"):
        GenerateRequest("a red ball", sound=True)

    class Mute(DiffusersGenerator):
        sound = False

    with pytest.raises(GenerationError, match="makes no sound"):
        make_engine(generator=Mute(str(folder))).generate(GenerateRequest("a ball", mime="video/mp4", sound=True))


@pytest.mark.parametrize("samples", [np.empty(0), np.full(10, np.nan), np.zeros((9, 5)), np.zeros((2, 2, 2))])
def test_what_is_no_sound_is_an_error_and_leaves_no_file(samples: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(FiligranaError, match="no usable sound"):
        sound_file(samples, 16000)
    assert list(tmp_path.iterdir()) == []


def test_a_frame_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(GenerationError, match="no usable picture"):
        list(ArrayFrames(np.full((2, 8, 8, 3), np.inf, np.float32), Fraction(8)))


def test_the_sound_of_a_generated_clip_is_judged_like_any_other(
    folder: Path, make_engine: Callable[..., Engine]
) -> None:
    """Without a recogniser the pack says what becomes of sound; a generator's is no exception."""
    from dataclasses import replace

    class Deaf:
        """A recogniser that fails: whoever cannot hear must not release."""

        name = version = "deaf"
        model = None

        def __call__(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("no ears")

        def __getattr__(self, _: str) -> Any:
            raise RuntimeError("no ears")

    engine = make_engine(generator=DiffusersGenerator(str(folder)))
    request = GenerateRequest("a red ball", seed=4, steps=1, size=(256, 256), mime="video/mp4", sound=True)
    assert isinstance(engine.generate(request), Release)
    engine.parts = replace(engine.parts, sound_guard=Deaf())
    try:
        outcome: Any = engine.generate(request)
    except FiligranaError:
        return
    assert not isinstance(outcome, Release)


def test_words_that_the_model_never_learned_are_named_without_loading_weights(folder: Path) -> None:
    generator = DiffusersGenerator(str(folder))
    (found,) = generator.unknown_words("a red bal bounces")
    assert (found.word, found.nearest) == ("bal", ("ball",))
    assert generator.unknown_words("a RED ball, bounces!") == []
    assert "_pipeline" not in vars(generator)


@pytest.mark.parametrize(
    ("name", "media", "expected"),
    [
        ("clip.mp4", [], ("video", True)),
        ("clip.mp4", ["--media", "video"], ("video", False)),
        ("clip.mp4", ["--media", "av"], ("video", True)),
        ("picture.png", [], ("image", False)),
    ],
)
def test_the_file_s_name_and_media_say_what_is_made(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    media: list[str],
    expected: tuple[str, bool],
) -> None:
    from typer.testing import CliRunner

    from filigrana.pipeline.api import Pipeline
    from filigrana.pipeline.cli.app import app

    asked: list[tuple[str, bool]] = []

    def refuse(self: Pipeline, prompt: str, *, mime: str, sound: bool, **_: Any) -> Any:
        from filigrana.provenance.media import kind_of_mime

        asked.append((kind_of_mime(mime), sound))
        raise GenerationError("enough")

    monkeypatch.setattr(Pipeline, "generate", refuse)
    given = ["generate", "a red ball", "-o", str(tmp_path / name), "--model", str(folder), "--json", *media]
    assert CliRunner().invoke(app, given).exit_code == 1
    assert asked == [expected]


def test_a_folder_of_clips_is_asked_for_by_media(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from filigrana.pipeline.api import Pipeline
    from filigrana.pipeline.cli.app import app

    asked: list[tuple[str, bool]] = []

    def refuse(self: Pipeline, prompt: str, *, mime: str, sound: bool, **_: Any) -> Any:
        asked.append((mime, sound))
        raise GenerationError("enough")

    monkeypatch.setattr(Pipeline, "generate", refuse)
    for media in ("av", "image", "audio"):
        given = ["generate", "a red ball", "-o", str(tmp_path / "many"), "--count", "2", "--model", str(folder)]
        assert CliRunner().invoke(app, [*given, "--media", media]).exit_code == 1
    assert asked == [("video/mp4", True), ("image/png", False)]
