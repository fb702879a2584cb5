"""Trains the sound transformer (rectified flow), the motion transformer, the autoencoder of sound and the caption
encoder being ready.

python -m training.train_hearing --seconds 1200
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from filigrana.pipeline.generators.embedded.attention import LEAST_NOISE
from filigrana.pipeline.generators.embedded.sound import FiligranaSoundTransformer

from .common import autocast
from .flows import Flow, More, noisy, train
from .shot_pool import Batch, of_sounds, sound_norms


def hearing_loss(
    model: FiligranaSoundTransformer,  # noqa: ARG001 (one of `Flow.loss`)
    learned: Callable[..., Tensor],
    batch: Batch,
    sigma: Tensor,
    more: More,  # noqa: ARG001
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean squared error of the velocity, as `train_joint.flow_loss` has it."""
    (x, noise), level = noisy(batch.latents, sigma), sigma[:, None]
    with autocast():
        out = learned(x, sigma, batch.slots, batch.more)
    true = (noise - batch.latents) * (level / level.clamp_min(LEAST_NOISE))
    return (out.float() - true).square().mean(), {}


FLOW = Flow(
    "hearing", 20271, FiligranaSoundTransformer, sound_norms, of_sounds, hearing_loss, batch=96, fresh=3, level=0.5,
    plain=("enter", "leave", "position", "table", "watch"),
)  # fmt: skip

if __name__ == "__main__":
    train(FLOW, __doc__, 1200, 2e-3, 0.5, 8000)
