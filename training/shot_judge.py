"""The judge of pictures: a classifier of what a picture shows, on real renders only.

It serves the evaluation alone, and shares nothing with the CLIP or the generator. Motions, sounds and single sprites
have judges that need no training: see `near_judges.py`.

python -m training.shot_judge --seconds 1500
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from filigrana.pipeline.generators.embedded.reader import ATTRIBUTES

from .common import DEVICE, Run, autocast, channels_last, compiled, prepare
from .muon import Muon
from .shots_data import attributes
from .world.atlas import Atlas, load_atlas
from .world.film import render_frames, render_line
from .world.motions import boxes, timeline
from .world.shots import Shot, sample_shot

SEED = 20271
NAME = "shot-judge"
SIDE = 128
UNASKED = -100
"""The answer to a question that isn't asked."""
ASKED = ("concept", "style", "colour", "count", "relation", "setting")
ALONE = ("concept", "style", "colour", "setting")
"""What can be told from any frame of a clip: that judge looks at those, too."""
FROM_CLIPS = 0.35
"""The share of pictures that are frames of clips."""


class _Block(nn.Module):
    def __init__(self, wide: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(wide), nn.SiLU(), nn.Conv2d(wide, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide),
            nn.SiLU(), nn.Conv2d(wide, wide, 3, padding=1, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class Judge(nn.Module):
    """Residual convolutions on `channels` x side x side; a linear layer on the mean and maximum over places, and on a
    summary of each place of a 4x4 grid: which of two things is the subject is a matter of place."""

    def __init__(self, channels: int, answers: tuple[int, ...], widths: tuple[int, ...] = (48, 96, 192, 256)) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 4)]
        for narrow, wide in zip((widths[0], *widths[:-1]), widths, strict=True):
            if narrow != wide:
                layers.append(nn.Conv2d(narrow, wide, 2, 2))
            layers.append(_Block(wide))
        self.body = nn.Sequential(*layers)
        self.answers = answers
        self.place = nn.Conv2d(widths[-1], 48, 1)
        self.head = nn.Sequential(
            nn.Linear(2 * widths[-1] + 16 * 48, 512), nn.BatchNorm1d(512), nn.SiLU(), nn.Linear(512, sum(answers))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, channels, h, w) in [-1, 1] -> logits of each question."""
        y = functional.silu(self.body(x))
        grid = functional.adaptive_avg_pool2d(self.place(y), 4).flatten(1)
        return list(self.head(torch.cat((y.mean((2, 3)), y.amax((2, 3)), grid), 1)).split(self.answers, 1))


def questions() -> dict[str, int]:
    """What the judge is asked, and how many answers there are."""
    return {name: ATTRIBUTES[name] for name in ASKED}


def judge() -> Judge:
    """An untrained judge."""
    return Judge(3, tuple(questions().values()))


def truth(shots: list[Shot]) -> Tensor:
    """(N, questions) int64."""
    index = [list(ATTRIBUTES).index(name) for name in ASKED]
    return torch.tensor([attributes(shot) for shot in shots])[:, index]


def seen(pictures: list[NDArray[Any]]) -> Tensor:
    """Pictures (h, w, 3) uint8 as the judge looks at them: (N, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(np.stack(pictures)).float().div_(127.5).sub_(1).permute(0, 3, 1, 2)


def real(shot: Shot, atlas: Atlas) -> NDArray[Any]:
    """The real render of a still: (SIDE, SIDE, 3) uint8."""
    return np.asarray(render_frames(shot, atlas, SIDE)[0])


def any_frame(rng: np.random.Generator, shot: Shot, atlas: Atlas, side: int = SIDE) -> NDArray[Any]:
    """A frame of a clip in which its subject is to be seen, if there is one among five: (side, side, 3) uint8."""
    for _ in range(5):
        line = timeline(shot, rng.uniform(0, shot.seconds, 1))
        left, top, right, bottom = boxes(shot, line)[0, 0].tolist()
        if not shot.cover and min(left, top) > -0.05 and max(right, bottom) < 1.05:
            break
    frame: NDArray[Any] = render_line(shot, line, atlas, side)[0]
    return frame


def roughen(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Blurs half of the batch slightly and adds noise, so that a soft picture is still recognised."""
    half = len(x) // 2
    soft = functional.avg_pool2d(functional.pad(x[:half], (1, 1, 1, 1), mode="replicate"), 3, 1)
    return torch.cat((soft, x[half:])) + float(rng.uniform(0, 0.08)) * torch.randn_like(x)


@torch.no_grad()
def right(model: Judge, x: Tensor, answers: Tensor) -> dict[str, float]:
    """The share of right answers, question by question."""
    said = [logits.argmax(1) for part in x.split(50) for logits in model(part)]
    count = len(model.answers)
    return {
        name: round(float((torch.cat(said[k::count]) == answers[:, k]).float().mean()), 4)
        for k, name in enumerate(questions())
    }


def load_judge() -> Judge:
    """The trained judge."""
    model = judge()
    model.load_state_dict(torch.load(Run(NAME, 1, 1).path, map_location="cpu", weights_only=True)["ema"])
    return model.eval().requires_grad_(False)


def main() -> None:
    """Runs until the budget is spent; kill and start it again at will."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1500)
    options = parser.parse_args()
    prepare(SEED)
    atlas = load_atlas()
    model = channels_last(judge())
    ema = copy.deepcopy(model).requires_grad_(False)
    optimiser = Muon(model.named_parameters(), 2e-3, 0.02, ("head.3", "body.0."))
    learned = compiled(model)
    run = Run(NAME, options.seconds, 2e-3, 0.5)
    parts = {"model": model, "ema": ema, "optimiser": optimiser}
    run.resume(**parts)
    rng = np.random.default_rng((SEED, run.step))
    unasked = [k for k, name in enumerate(ASKED) if name not in ALONE]
    while run.running:
        shots = [sample_shot(rng, atlas, "still") for _ in range(96)]
        pictures, wanted = [real(shot, atlas) for shot in shots], truth(shots)
        for n in np.flatnonzero(rng.random(len(shots)) < FROM_CLIPS):
            shot = sample_shot(rng, atlas, "clip")
            pictures[n], wanted[n] = any_frame(rng, shot, atlas), truth([shot])[0]
            wanted[n, unasked] = UNASKED
        x, wanted = roughen(seen(pictures), rng), wanted.to(DEVICE)
        with autocast():
            said = learned(x.to(DEVICE, memory_format=torch.channels_last))
        losses = [functional.cross_entropy(o.float(), wanted[:, k], ignore_index=UNASKED) for k, o in enumerate(said)]
        run.learn(torch.stack(losses).sum(), model, ema, optimiser)
        for old, new in zip(ema.buffers(), model.buffers(), strict=True):
            old.lerp_(new, 0.05) if old.is_floating_point() else old.copy_(new)
        if run.due:
            run.save(**parts)
    run.save(**parts)
    held = [sample_shot(rng, atlas, "still", held_out=True) for _ in range(500)]
    run.note(**right(ema.eval().cpu(), seen([real(shot, atlas) for shot in held]), truth(held)))


if __name__ == "__main__":
    main()
