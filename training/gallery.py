"""Draws what docs show of the embedded model: a contact sheet of stills, and clips as GIF and MP4.

python -m training.gallery

One seed for all, not chosen. The GIFs are for pages, the MP4 has the sound.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from filigrana.pipeline.generators.embedded.shot import RATE, FiligranaShotPipeline
from filigrana.pipeline.generators.embedded.tracks import frames

from .common import prepare
from .export_shots import SHOT

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SHEET = IMAGES.parent / "contact-sheet.png"
SEED = 1
STILLS = (
    "a red sailboat on a blue sea", "three yellow ducks on the beach", "a dog in front of a house in the snow",
    "a large rocket under a night sky", "a purple umbrella on a grey background", "un gato negro en la ciudad",
    "an owl on the left in the forest", "zwei grüne Frösche auf einem Hügel", "a whale under water",
    "一只蓝色的蝴蝶在白色背景上", "a teapot to the left of a clock in a room", "une voiture rouge sur la route",
    "a cactus in the desert", "four red apples on a yellow background", "a bird above a tree on a hill",
    "a pink guitar at sunset",
)  # fmt: skip
CLIPS = {
    "clip-bounce": "a red ball bounces on a green hill",
    "clip-collide": "a blue car collides with a yellow bus on the road",
    "clip-fly": "an airplane flies to the right across a night sky",
    "clip-hide": "a white rabbit hides behind a bush in the snow",
}
SIDE, COUNT = 256, 32


def sheet(pipeline: Any, steps: int) -> None:
    """STILLS in four columns at 256 pixels each."""
    pictures = []
    for text in STILLS:
        made = pipeline(text, generator=torch.Generator().manual_seed(SEED), num_inference_steps=steps)
        pictures.append(made.images[0].resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    out = Image.new("RGB", (4 * SIDE, -(-len(pictures) // 4) * SIDE))
    for n, picture in enumerate(pictures):
        out.paste(picture, (n % 4 * SIDE, n // 4 * SIDE))
    # no palette: one for sixteen pictures gives a small thing the colour of a large one
    out.save(SHEET, optimize=True)


def write_gif(path: Path, film: list[NDArray[np.uint8]]) -> None:
    """A GIF of every second frame, one palette for all."""
    shown = [Image.fromarray(frame).resize((192, 192), Image.Resampling.LANCZOS) for frame in film[::2]]
    palette = shown[len(shown) // 2].quantize(96)
    first, *rest = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in shown)
    first.save(path, save_all=True, append_images=rest, duration=125, loop=0, optimize=True)


def write_mp4(path: Path, film: list[NDArray[np.uint8]], sound: NDArray[np.float32]) -> None:
    """H.264 and AAC, two seconds."""
    import av

    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("libx264", rate=COUNT // 2)
        video.width = video.height = SIDE
        video.pix_fmt, video.options = "yuv420p", {"crf": "24"}
        audio: Any = out.add_stream("aac", rate=RATE)
        audio.layout = "mono"
        for frame in film:
            out.mux(video.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        out.mux(video.encode())
        whole = av.AudioFrame.from_ndarray(np.rint(sound * 32767).astype(np.int16)[None], "s16", "mono")
        whole.rate, whole.time_base, whole.pts = RATE, Fraction(1, RATE), 0
        for part in av.AudioResampler("fltp", "mono", RATE).resample(whole):
            out.mux(audio.encode(part))
        out.mux(audio.encode())


def main() -> None:
    """Draws the sheet and the clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=SHOT)
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    prepare(SEED)
    pipeline: Any = FiligranaShotPipeline.from_pretrained(options.folder)
    pipeline.set_progress_bar_config(disable=True)
    sheet(pipeline, options.steps)
    for name, text in CLIPS.items():
        made = pipeline(
            text, generator=torch.Generator().manual_seed(SEED), num_inference_steps=options.steps, num_frames=COUNT,
            sound=True, output_type="scene",
        )  # fmt: skip
        film = list(frames(made.frames[0], SIDE, COUNT))
        write_gif(IMAGES / f"{name}.gif", film)
        write_mp4(IMAGES / f"{name}.mp4", film, made.audio[0])


if __name__ == "__main__":
    main()
