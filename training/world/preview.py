"""Looks at the world: contact sheets of stills, settings and motions, and an MP4 of every motion with its sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image as Pillow

from filigrana.pipeline.generators.embedded.compose import Image

from .atlas import Atlas
from .film import render_frames
from .settings import SETTINGS, draw_setting
from .shots import MOTIONS, Shot, sample_shot
from .sound import render_sound
from .telling import tell
from .tongues import LANGUAGES
from .voices import RATE, Sound


def sheet(tiles: list[Image], across: int) -> Image:
    """Tiles of one size in rows of `across`; what doesn't fill a row is left out."""
    whole = len(tiles) // across * across
    return np.concatenate([np.concatenate(tiles[i : i + across], 1) for i in range(0, whole, across)])


def one_of_each(atlas: Atlas, seed: int) -> list[Shot]:
    """A shot with sound for each motion, in MOTIONS' order."""
    rng, found = np.random.default_rng(seed), dict[str, Shot]()
    while len(found) < len(MOTIONS):
        shot = sample_shot(rng, atlas, "av")
        found.setdefault(shot.motion, shot)
    return [found[motion] for motion in MOTIONS]


def write_mp4(path: Path, frames: Image, sound: Sound, rate: int) -> None:
    """Writes frames, (T, h, w, 3) uint8 at `rate` a second, and mono sound at RATE as H.264 and AAC."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=rate, options={"crf": "18"})
        video.width, video.height, video.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        audio = out.add_stream("aac", rate=RATE, layout="mono")
        for k, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, rate)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for start in range(0, len(sound), 1024):
            block = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = RATE, start, Fraction(1, RATE)
            out.mux(audio.encode(block))
        out.mux(audio.encode(None))


def write_preview(folder: Path, atlas: Atlas, seed: int = 0, side: int = 256, rate: int = 16) -> list[Path]:
    """Writes stills.png, settings.png, motions.png, motions.mp4 and captions.txt; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, said = np.random.default_rng(seed), []
    stills = [sample_shot(rng, atlas, "still") for _ in range(48)]
    moving = one_of_each(atlas, seed)
    for shot in (*stills, *moving):
        for language in LANGUAGES:
            said.append(f"{shot.media}\t{shot.motion}\t{language}\t{tell(shot, rng, language)}")
    sheets = {
        "stills.png": sheet([render_frames(shot, atlas, 128)[0] for shot in stills], 8),
        "settings.png": sheet([draw_setting(number, seed, 100) for number in range(len(SETTINGS))], 8),
        "motions.png": sheet([tile for shot in moving for tile in render_frames(shot, atlas, 112, 4)], 8),
    }
    for name, picture in sheets.items():
        Pillow.fromarray(picture).save(folder / name)
    (folder / "captions.txt").write_text("\n".join(said) + "\n", encoding="utf-8")
    frames = np.concatenate([render_frames(shot, atlas, side, rate) for shot in moving])
    write_mp4(folder / "motions.mp4", frames, np.concatenate([render_sound(shot) for shot in moving]), rate)
    return [folder / name for name in (*sheets, "motions.mp4", "captions.txt")]
