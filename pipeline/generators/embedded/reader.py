"""The caption encoder of the shot family: a caption -> one vector for each thing that it may say.

Slots are learned tokens that read the caption's words in every layer. Training makes slot k say attribute k (which
thing, which colour, how it moves, …), so what the model understood can be shown before anything is drawn. What a
caption leaves open is decided then, by chance and in the proportion in which it was left open: a plan. The flows are
told the plan, in slots as captions that say such things have them: nothing that has two answers is left to them, of
which they would draw the mean, and the captions' words and grammar stay out of them (docs/adr/0034).
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from .attention import Attention, FeedForward, RMSNorm

ATTRIBUTES: dict[str, int] = {
    "media": 3, "concept": 177, "style": 2, "colour": 17, "count": 4, "size": 3, "place": 3, "relation": 4,
    "partner": 178, "partner_style": 3, "partner_colour": 18, "setting": 24, "motion": 12, "direction": 2,
    "camera": 5, "cover": 4,
}  # fmt: skip
"""What a caption may say, and how many answers there are; the last answer of the partner's is that there is none."""
PLAN: dict[str, int] = {**ATTRIBUTES, "tempo": 3}
"""What is decided before anything is drawn. No caption says how fast."""
OPEN = -1
"""In a plan: not decided."""
SURE = 0.8
"""A likelihood from which an answer is taken as said."""
RISEN = 0.1
"""How much likelier an answer becomes by a word that is about it."""


class FiligranaReader(ModelMixin, ConfigMixin):
    """Token ids (N, words) int64, 0 = padding -> slots (N, attributes, width).

    `labels` names each attribute's answers, in English; without it `understood` gives their numbers.
    """

    config_name = "config.json"  # type: ignore[assignment]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        vocabulary_size: int = 4096,
        words: int = 48,
        width: int = 224,
        depth: int = 3,
        heads: int = 4,
        answers: tuple[int, ...] = tuple(ATTRIBUTES.values()),
        labels: dict[str, list[str]] | None = None,  # noqa: ARG002 (read from the config by `understood`)
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.embedding = nn.Embedding(vocabulary_size, width)
        nn.init.normal_(self.embedding.weight, std=0.3)
        self.position = nn.Parameter(torch.randn(words, width) * 0.02)
        self.slots = nn.Parameter(torch.randn(len(answers), width) * 0.3)
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(2 * depth))
        self.attentions = nn.ModuleList(Attention(width, heads) for _ in range(depth))
        self.mlps = nn.ModuleList(FeedForward(width, 3) for _ in range(depth))
        self.final = RMSNorm(width)
        self.says = nn.ModuleList(nn.Linear(width, count) for count in answers)
        self.typical: Tensor
        self.unsaid: Tensor
        self.register_buffer("typical", torch.randn(sum(PLAN.values()), width) * 0.3)
        self.register_buffer("unsaid", torch.zeros(len(PLAN), width))

    def forward(self, ids: Tensor) -> Tensor:
        """The slots of each caption; an empty caption has slots, too: those that say nothing."""
        words, slots = self.embedding(ids) + self.position[: ids.shape[1]], self.slots.expand(len(ids), -1, -1)
        x = torch.cat((slots, words), 1)
        mask = torch.cat((torch.ones_like(ids[:, :1]).expand(-1, slots.shape[1]) > 0, ids != 0), 1)[:, None, None]
        for index, (attention, mlp) in enumerate(zip(self.attentions, self.mlps, strict=True)):
            x = x + attention(self.norms[2 * index](x), mask=mask)
            x = x + mlp(self.norms[2 * index + 1](x))
        out: Tensor = self.final(x[:, : slots.shape[1]])
        return out

    def decided(self, slots: Tensor, chance: Tensor, without: Tensor | None = None) -> Tensor:
        """The plan (N, 17) int64 of captions with these slots, in the order of PLAN: what each says, and of what it
        leaves open an answer by `chance`, (N, 17) in 0..1. An answer of the plan `without` is not among those drawn."""
        plan = []
        for k, logits in enumerate(self.answer(slots)):
            likely = logits.float().softmax(1)
            best = likely.max(1)
            if without is not None:
                likely = likely * (torch.arange(likely.shape[1], device=likely.device) != without[:, k : k + 1])
            plan.append(torch.where(best.values >= SURE, best.indices, _drawn(likely, chance[:, k])))
        one = torch.ones(len(slots), PLAN["tempo"], device=slots.device)
        plan.append(_drawn(one, chance[:, len(plan)]))
        return torch.stack(plan, 1)

    def said(self, slots: Tensor, nothing: Tensor) -> Tensor:
        """The plan of what captions with these slots say that one which says `nothing` (1, attributes, width) does not:
        answers that become likelier by RISEN; OPEN elsewhere. That is less than to be SURE: a word alone is no caption.
        """
        plan = []
        for logits, before in zip(self.answer(slots), self.answer(nothing), strict=True):
            most = (logits.float().softmax(1) - before.float().softmax(1)).max(1)
            plan.append(torch.where(most.values >= RISEN, most.indices, torch.full_like(most.indices, OPEN)))
        return torch.stack([*plan, torch.full_like(plan[0], OPEN)], 1)

    def stated(self, plan: Tensor) -> Tensor:
        """Plans (N, 17) -> slots (N, 17, width), as captions that say so have them."""
        first = torch.tensor([0, *PLAN.values()][:-1], device=plan.device).cumsum(0)
        return torch.where((plan == OPEN)[..., None], self.unsaid, self.typical[plan.clamp_min(0) + first])

    def understood(self, ids: Tensor) -> list[dict[str, tuple[str, float]]]:
        """What each caption was taken to say: for each attribute an answer and how likely it is, in 0..1.

        An answer of little likelihood is one that the caption leaves open.
        """
        config: Any = self.config
        labels = config.labels or {}
        said = [logits.softmax(1).max(1) for logits in self.answer(self(ids))]
        names = list(ATTRIBUTES)
        return [
            {
                name: (_label(labels.get(name), int(best.indices[n])), float(best.values[n]))
                for name, best in zip(names, said, strict=True)
            }
            for n in range(len(ids))
        ]

    def answer(self, slots: Tensor) -> list[Tensor]:
        """Slots -> for each attribute the logits of its answers, (N, answers)."""
        return [head(slots[:, index]) for index, head in enumerate(self.says)]


def _drawn(weights: Tensor, chance: Tensor) -> Tensor:
    """(N,) int64: which of the answers with these weights (N, answers) the chance, in 0..1, falls on."""
    steps = weights.cumsum(1)
    return (steps <= chance[:, None] * steps[:, -1:]).sum(1).clamp_max(weights.shape[1] - 1)


def _label(labels: list[str] | None, index: int) -> str:
    return str(index) if labels is None else labels[index]
