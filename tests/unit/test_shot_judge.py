"""The judges of shots see what they are asked about; questions and truths fit together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from filigrana.pipeline.torch_compat import ready

ready()

from filigrana.training import shot_judge  # noqa: E402
from tests.small_world import plain_atlas  # noqa: E402


@pytest.mark.parametrize("what", ["still", "clip", "sound"])
def test_a_judge_answers_each_question_about_what_it_sees(what: str) -> None:
    atlas, rng = plain_atlas(), np.random.default_rng(1)
    shots = [shot_judge.draw(what, rng, atlas) for _ in range(3)]
    media = [shot_judge.real(what, shot, atlas) for shot in shots]
    model, truth = shot_judge.judge(what), shot_judge.truth(what, shots)
    said = model(shot_judge.seen(what, media))
    asked = shot_judge.questions(what)
    assert [logits.shape for logits in said] == [(3, count) for count in asked.values()]
    assert truth.shape == (3, len(asked))
    assert all(0 <= int(truth[n, k]) < count for n in range(3) for k, count in enumerate(asked.values()))


def test_a_judge_can_learn() -> None:
    """Two sounds that differ are told apart within a few steps."""
    atlas, rng = plain_atlas(), np.random.default_rng(2)
    shots: list[Any] = []
    while len({shot_judge.sound_key(shot) for shot in shots}) < 2:
        shots = [shot_judge.draw("sound", rng, atlas) for _ in range(2)]
    x = shot_judge.seen("sound", [shot_judge.real("sound", shot, atlas) for shot in shots])
    torch.manual_seed(0)
    model, wanted = shot_judge.judge("sound"), shot_judge.truth("sound", shots)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(12):
        loss = torch.nn.functional.cross_entropy(model(x)[0], wanted[:, 0])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert shot_judge.right(model, "sound", x, wanted) == {"sound": 1.0}
    assert float(loss.detach()) < 0.5
