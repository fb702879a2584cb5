"""Previews, and a clip whose sound survives the file in time with its pictures."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as Pillow

from filigrana.tests.small_world import draw, plain_atlas
from filigrana.training.world.atlas import Atlas
from filigrana.training.world.film import render_frames
from filigrana.training.world.preview import write_mp4, write_preview
from filigrana.training.world.sound import render_sound
from filigrana.training.world.voices import RATE


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return plain_atlas()


def test_a_written_clip_keeps_pictures_and_sound_in_time(atlas: Atlas, tmp_path: Path) -> None:
    shot = draw(atlas, 60, 1, motion="fall")[0]
    frames, sound = render_frames(shot, atlas, 128), render_sound(shot)
    write_mp4(tmp_path / "clip.mp4", frames, sound, 16)
    with av.open(str(tmp_path / "clip.mp4")) as box:
        read = np.stack([frame.to_ndarray(format="rgb24") for frame in box.decode(video=0)])
    with av.open(str(tmp_path / "clip.mp4")) as box:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in box.decode(audio=0)])[: len(sound)]
    assert read.shape == frames.shape
    assert np.abs(read.astype(int) - frames).mean() < 6
    lags = range(-1600, 1601, 16)
    fits = [float(np.dot(np.roll(heard, lag), sound[: len(heard)])) for lag in lags]
    assert abs(lags[int(np.argmax(fits))]) <= RATE // 50


def test_a_preview_shows_stills_settings_and_every_motion(atlas: Atlas, tmp_path: Path) -> None:
    paths = write_preview(tmp_path, atlas, seed=1, side=64)
    assert [path.name for path in paths] == [
        "stills.png", "settings.png", "motions.png", "motions.mp4", "captions.txt",
    ]  # fmt: skip
    with Pillow.open(tmp_path / "motions.png") as sheet:
        assert sheet.size == (8 * 112, 12 * 112)
    with av.open(str(tmp_path / "motions.mp4")) as box:
        assert {stream.type for stream in box.streams} == {"video", "audio"}
        assert box.duration is not None
        assert box.duration / 1e6 == pytest.approx(24, abs=0.2)
    assert len((tmp_path / "captions.txt").read_text(encoding="utf-8").splitlines()) == 60 * 5
