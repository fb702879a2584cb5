"""The three flows of the shot family, and how they are trained."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from filigrana.pipeline.torch_compat import ready

ready()

from filigrana.pipeline.generators.embedded.joint import (  # noqa: E402
    PARTNER,
    SUBJECT,
    FiligranaJointTransformer,
    Parts,
)
from filigrana.pipeline.generators.embedded.motion import FiligranaMotionTransformer  # noqa: E402
from filigrana.pipeline.generators.embedded.reader import ATTRIBUTES, PLAN, FiligranaReader  # noqa: E402
from filigrana.pipeline.generators.embedded.sound import FiligranaSoundTransformer  # noqa: E402
from filigrana.pipeline.generators.embedded.time import MOMENTS, VALUES, FiligranaSoundAutoencoder  # noqa: E402
from filigrana.training import common, flows, train_hearing, train_joint, train_motion  # noqa: E402
from filigrana.training.flows import Flow  # noqa: E402
from filigrana.training.shot_pool import Batch, Pool, Source, Tables  # noqa: E402
from filigrana.training.train_hearing import hearing_loss  # noqa: E402
from filigrana.training.train_joint import ABSENT, begin, draft_loss, flow_loss, weights  # noqa: E402
from filigrana.training.train_motion import motion_loss, refit, track_errors, weighed  # noqa: E402
from filigrana.training.world.colours import OWN  # noqa: E402
from tests.small_world import draw, plain_atlas  # noqa: E402


def test_the_flow_loss_is_zero_for_the_true_velocity_alone_and_is_learned() -> None:
    torch.manual_seed(2)
    model = FiligranaJointTransformer(slot_width=32, width=32, depth=1, heads=2)
    latents, slots = torch.randn(4, model.values), torch.randn(4, 16, 32)
    first = flow_loss(model, latents, torch.full((4,), 0.5), slots)
    assert first.shape == (3,)
    # untrained it says that the latents are zero: at half noise the velocity misses twice the latents
    assert torch.allclose(first, torch.stack([4 * part.square().mean() for part in model.split(latents)]), rtol=0.05)
    assert float(flow_loss(model, 0 * latents, torch.full((4,), 0.5), slots).detach().max()) < 1e-6
    assert float(flow_loss(model, 0 * latents, torch.full((4,), 0.01), slots).detach().max()) < 1e-6
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(30):
        loss = flow_loss(model, latents, torch.full((4,), 0.5), slots).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.9 * float(first.detach().mean())


def test_a_sprite_that_is_not_there_counts_little() -> None:
    model = FiligranaJointTransformer(slot_width=32, width=32, depth=1, heads=2)
    weight = weights(model, torch.tensor([[True, False, False], [True, True, False]]))
    assert weight.shape == (2, model.values)
    before = model.shapes[0][0] * model.shapes[0][1]
    middle, dyes = weight[:, before : before + 768].unflatten(1, (3, 256)), weight[:, before + 768 : before + 776]
    assert torch.equal(middle[:, :, 0] == 2, torch.tensor([[True, False, False], [True, True, False]]))
    assert torch.equal(dyes.unflatten(1, (2, 4)).amin(2) == 2, torch.tensor([[True, False], [True, True]]))
    assert sorted(middle.unique().tolist()) == pytest.approx([ABSENT, 2.0])
    assert (weight[:, :before] == 1).all()


def certain(model: Any, **said: int) -> torch.Tensor:
    """Slots (1, attributes, 8) that say the answers for certain, by layers that read them off the slots' values."""
    slots = torch.zeros(1, len(ATTRIBUTES), 8)
    for says, slot in zip(model.prototypes.says, (*SUBJECT, *PARTNER), strict=True):
        name = list(ATTRIBUTES)[slot]
        torch.nn.init.zeros_(says.weight)
        torch.nn.init.zeros_(says.bias)
        if name in said:
            torch.nn.init.constant_(says.weight[said[name]], 10.0)
            slots[0, slot] = 10
    return slots


def prototypes() -> Any:
    """A small model in which thing t in style s looks like 10 t + s, and the dye c is c."""
    model = FiligranaJointTransformer(slot_width=8, width=32, depth=1, heads=2)
    things, styles = model.prototypes.sprites.shape[:2]
    with torch.no_grad():
        numbers = 10 * torch.arange(things)[:, None] + torch.arange(styles)
        model.prototypes.sprites.copy_(numbers[..., None].expand_as(model.prototypes.sprites))
        model.prototypes.dyes.copy_(torch.arange(17)[:, None].expand(-1, 4))
    return model


def test_a_draft_is_the_prototype_that_its_slots_name() -> None:
    model = prototypes()
    slots = certain(model, concept=7, style=1, colour=3, partner=20, partner_style=0, partner_colour=16)
    sprites, dyes = model.drafts(slots)
    assert sprites.shape == (1, 2, 256)
    assert dyes.shape == (1, 2, 4)
    assert torch.allclose(sprites[0, :, 0], torch.tensor([71.0, 200.0]))
    assert torch.allclose(dyes[0, :, 0], torch.tensor([3.0, 16.0]))


def test_where_slots_leave_it_open_prototypes_are_mixed_and_no_partner_is_no_draft() -> None:
    model = prototypes()
    sprites, dyes = model.drafts(certain(model, concept=7, colour=3, partner=177, partner_style=2, partner_colour=17))
    assert torch.allclose(sprites[0, :, 0], torch.tensor([70.5, 0.0]))
    assert torch.allclose(dyes[0, :, 0], torch.tensor([3.0, 0.0]))


def test_a_draft_is_corrected_by_the_layers() -> None:
    torch.manual_seed(3)
    model = prototypes()
    slots = certain(model, concept=7, style=1, colour=3, partner=20, partner_style=0, partner_colour=16)
    sprites, dyes = model.drafts(slots)
    # untrained layers correct nothing: the latents that the velocity leads to are the drafts
    latents, level = torch.randn(1, model.values), torch.tensor([0.5])
    clean = latents - 0.5 * model(latents, level, slots)
    start = model.shapes[0][0] * model.shapes[0][1]
    assert torch.allclose(clean[:, start : start + 512], sprites.flatten(1), atol=1e-3)
    assert torch.allclose(clean[:, start + 768 : start + 776], dyes.flatten(1), atol=1e-4)
    assert torch.allclose(clean[:, :start], torch.zeros(1, start), atol=1e-5)
    for parameter in model.leave[1].parameters():
        torch.nn.init.constant_(parameter, 0.1)
    assert not torch.allclose(latents - 0.5 * model(latents, level, slots), clean)


def test_an_untrained_model_starts_from_what_there_is_and_from_the_readers_answers() -> None:
    reader = FiligranaReader(vocabulary_size=10, width=8, depth=1, heads=2)
    known = torch.rand(177 * 2 + 3, 16, 4, 4) * 2 - 1
    source: Any = SimpleNamespace(tables=Tables(known, torch.zeros(1)), reader=reader)
    model = FiligranaJointTransformer(slot_width=8, width=32, depth=1, heads=2, means=(0, 0.1, 0), scales=(1, 0.5, 0.8))
    begin(source, model)
    shot = next(s for s in draw(plain_atlas(), 6, 40) if s.partner is not None and s.subject.colour != OWN)
    plate = torch.zeros(1, 16, 12, 12)
    _, three, dyes = source.tables.of(replace(shot, setting=0, seed=0))
    packed = model.split(model.pack(Parts(plate, three[None], dyes[None])))
    subject = shot.subject
    assert torch.allclose(packed[1][0, :256], model.prototypes.sprites[subject.concept, subject.style])
    assert torch.allclose(packed[2][0, :4], model.prototypes.dyes[subject.colour])
    slots = torch.randn(3, len(ATTRIBUTES), 8)
    for says, slot in zip(model.prototypes.says, (*SUBJECT, *PARTNER), strict=True):
        assert torch.equal(says(slots[:, slot]), reader.answer(slots)[slot])


def test_the_drafts_are_learned_from_what_is_there_alone() -> None:
    torch.manual_seed(4)
    model = FiligranaJointTransformer(slot_width=8, width=32, depth=1, heads=2)
    latents, slots = torch.randn(2, model.values), torch.randn(2, len(ATTRIBUTES), 8)
    there = torch.tensor([[True, False, False], [True, False, True]])
    before = draft_loss(model, latents, slots, there)
    start = model.shapes[0][0] * model.shapes[0][1]
    latents[:, start + 256 : start + 768] += 5
    latents[:, start + 772 : start + 776] += 5
    assert torch.equal(before, draft_loss(model, latents, slots, there))
    latents[:, start : start + 256] += 5
    assert not torch.equal(before, draft_loss(model, latents, slots, there))
    assert float(draft_loss(model, latents, slots, torch.zeros(2, 3, dtype=torch.bool)).detach()) == 0


def test_the_sound_is_learned_from_the_motion_and_follows_it() -> None:
    torch.manual_seed(5)
    model = FiligranaSoundTransformer(slot_width=8, width=32, depth=1, heads=2)
    slots, motion_ = torch.randn(8, len(ATTRIBUTES), 8), torch.zeros(8, MOMENTS, VALUES)
    times = torch.randint(1, 15, (8,))
    latents = torch.zeros(8, 16, 48)
    for k, time in enumerate(times):
        # a thud where the path turns
        motion_[k, :, 1] = (torch.arange(MOMENTS) - time * 4.0).abs() / 32
        latents[k, time] = 1
    batch = Batch(model.pack(latents), slots, motion_)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    first = float(hearing_loss(model, model, batch, torch.full((8,), 0.9), None)[0].detach())
    for _ in range(120):
        loss = hearing_loss(model, model, batch, torch.full((8,), 0.9), None)[0]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < first / 2
    noise_, level = torch.randn(8, model.values), torch.full((8,), 0.9)
    with torch.no_grad():
        clean = noise_ - 0.9 * model(noise_, level, slots, motion_)
        other = noise_ - 0.9 * model(noise_, level, slots, motion_.roll(1, 0))
    loudest = [model.unpack(each).mean(2).argmax(1) for each in (clean, other)]
    assert (loudest[0] == times).float().mean() > 0.7
    assert (loudest[1] == times.roll(1, 0)).float().mean() > 0.7


def small_motion() -> Any:
    return FiligranaMotionTransformer(slot_width=8, width=32, depth=1, heads=2, read=8, draft=(64, 64))


def plans(count: int) -> torch.Tensor:
    """Slots of plans that differ."""
    return torch.randn(count, len(PLAN), 8, generator=torch.Generator().manual_seed(3))


def test_tracks_are_drafted_from_the_plan_and_corrected_by_the_layers() -> None:
    torch.manual_seed(6)
    model, slots, level = small_motion(), plans(2), torch.full((2,), 0.5)
    # untrained layers correct nothing
    assert torch.equal(model.clean(torch.randn(2, model.values), level, slots), model.drafts(slots))
    for parameter in model.leave.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    assert not torch.allclose(model.clean(torch.randn(2, model.values), level, slots), model.drafts(slots))
    noisy_ = torch.randn(2, model.values)
    clean = noisy_ - 0.5 * model(noisy_, level, slots)
    assert torch.allclose(clean, model.clean(noisy_, level, slots), atol=1e-5)


def test_drafts_are_learned_first_and_corrections_when_they_are_settled() -> None:
    torch.manual_seed(6)
    model = small_motion()
    batch = Batch(torch.randn(4, model.values), plans(4), torch.zeros(4, 0))

    def learns(more: Any) -> set[str]:
        model.zero_grad()
        loss, _ = motion_loss(model, model, batch, torch.full((4,), 0.5), more)
        loss.backward()
        return {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}

    assert learns(lambda _count: batch) == {"reads", "drafter"}
    assert learns(None) == {"leave"}


def test_a_jitter_costs_more_than_a_shift() -> None:
    true = torch.zeros(1, MOMENTS * VALUES)
    shift = torch.full((MOMENTS, VALUES), 0.1)
    jitter = shift.clone()
    jitter[::2] *= -1
    assert weighed(track_errors(jitter.flatten()[None], true)) > 50 * weighed(track_errors(shift.flatten()[None], true))


def test_settled_drafts_are_the_least_squares_solution() -> None:
    """Of tracks that hang on the plan in a way that the hidden layers know, nothing is left over, not a turn."""
    torch.manual_seed(7)
    model, slots = small_motion(), plans(400)
    with torch.no_grad():
        hidden = model.drafter[:-1](model.reads(slots).flatten(1))
        true = hidden @ torch.randn(64, model.values) + 0.3
    pool = Pool(lambda _rng, count: (true[:count], torch.zeros(count, 0), slots[:count]), plans(1)[0], 400,
                np.random.default_rng(0), 400)  # fmt: skip
    before = track_errors(model.drafts(slots), true)
    refit(model, pool)
    after = track_errors(model.drafts(slots), true)
    assert all(float(after[name].detach()) < 1e-3 * float(before[name].detach()) for name in after)


def test_motions_that_sounds_are_learned_from_are_drawn_by_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(plain_atlas(), FiligranaReader(vocabulary_size=9, width=8, depth=1, heads=2))
    drawer = FiligranaMotionTransformer(slot_width=8, width=32, depth=1, heads=2, read=8, draft=(64, 64), means=(0.5,) * 9)
    for parameter in drawer.drafter[-1].parameters():
        torch.nn.init.zeros_(parameter)
    monkeypatch.setitem(source.__dict__, "motion", drawer)
    monkeypatch.setitem(source.__dict__, "sound", FiligranaSoundAutoencoder(width=16))
    heard, moved, slots = source.sounds(np.random.default_rng(1), 3)
    assert heard.shape == (3, 16, 48)
    assert slots.shape == (3, len(PLAN), 8)
    # untrained it draws the mean of everything
    assert torch.equal(moved, torch.full((3, MOMENTS, VALUES), 0.5))


# The pool


def test_a_pool_keeps_its_size_renews_some_and_withholds_one_plan_in_ten() -> None:
    made: list[int] = []

    def make(_rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        made.append(count)
        return torch.full((count, 2), len(made)), torch.ones(count, 3, dtype=torch.bool), torch.ones(count, 4, 5)

    rng = np.random.default_rng(0)
    pool = Pool(make, torch.zeros(4, 5), 250, rng)
    assert made == [100, 100, 50]
    pool.renew(rng, 7)
    assert int((pool.latents[:, 0] == 4).sum()) == 7
    batch = pool.batch(rng, 1000)
    assert batch.latents.shape == (1000, 2)
    assert batch.more.dtype == torch.bool
    assert 0.05 < float((batch.slots == 0).float().mean()) < 0.15
    assert (pool.batch(rng, 1000, whole=True).slots == 1).all()


# The programs


@pytest.mark.parametrize("flow", [train_joint.FLOW, train_motion.FLOW, train_hearing.FLOW])
def test_a_program_learns_saves_and_goes_on(flow: Flow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On tiny models; the loop, the options, the checkpoint and the log are the real ones."""

    def small(**config: Any) -> Any:
        return flow.made(slot_width=8, width=32, depth=1, heads=2, **config)

    def norms(_source: Any) -> dict[str, Any]:
        parts = {"joint": 3, "motion": 9}.get(flow.name)
        return {"mean": 0.0, "scale": 0.5} if parts is None else {"means": (0.0,) * parts, "scales": (0.5,) * parts}

    def examples(_source: Any, model: Any) -> Any:
        more = {"joint": torch.ones(1, 3, dtype=torch.bool), "hearing": torch.zeros(1, MOMENTS, VALUES)}
        return lambda rng, count: (
            torch.from_numpy(rng.normal(size=(count, model.values))).float(),
            more.get(flow.name, torch.zeros(1, 0)).expand(count, *[-1] * (2 if flow.name == "hearing" else 1)).clone(),
            torch.zeros(count, len(PLAN), 8),
        )

    source = SimpleNamespace(nothing=lambda: torch.zeros(len(PLAN), 8))
    monkeypatch.setattr(flows, "Run", lambda name, seconds, rate, tail: common.Run(name, seconds, rate, tail, tmp_path))
    monkeypatch.setattr(flows, "Source", lambda *_: source)
    monkeypatch.setattr(flows, "load_atlas", lambda: None)
    monkeypatch.setattr(flows, "known_reader", lambda: torch.nn.Identity())
    settled: list[float] = []
    tiny = replace(
        flow, made=small, norms=norms, examples=examples, batch=4, fresh=1, begin=lambda *_: None,
        settle=lambda _model, pool: settled.append(pool.size),
    )  # fmt: skip
    for seconds in (0.4, 0.8):
        monkeypatch.setattr(sys, "argv", ["train", "--seconds", str(seconds), "--pool", "20"])
        flows.train(tiny, None, 1, 1e-3, 0.5, 50)
        state = torch.load(tmp_path / f"{flow.name}.pt", weights_only=True)
        assert state["spent"] >= seconds
        assert all(torch.isfinite(value).all() for value in state["ema"].values())
    assert (tmp_path / f"{flow.name}.jsonl").exists() == (state["step"] >= 50)
    # when half was spent, or at the end of a run that did not come so far
    assert settled
    assert set(settled) == {20}
