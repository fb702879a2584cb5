"""What a caption says is drawn, what it leaves open is decided by the seed: plans of the shot family."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from filigrana.pipeline.torch_compat import ready

ready()

from filigrana.pipeline.generators.embedded.reader import ATTRIBUTES, OPEN, PLAN, FiligranaReader  # noqa: E402
from filigrana.pipeline.generators.embedded.words import LENGTH, tokenize  # noqa: E402
from filigrana.training import train_reader  # noqa: E402
from filigrana.training.shots_data import attributes, plan  # noqa: E402
from filigrana.training.world.shots import TEMPI  # noqa: E402
from tests.small_world import draw, plain_atlas  # noqa: E402
from tests.tiny_shots import tiny_shots  # noqa: E402

NAMES = list(PLAN)
COLOUR, STYLE, TEMPO = (NAMES.index(name) for name in ("colour", "style", "tempo"))


def reader_that_says(**logits: dict[int, float]) -> Any:
    """Whatever the slots are, it answers with these logits, 0 for answers that aren't named; of attributes that aren't
    named, the first answer is sure."""
    made: Any = FiligranaReader(vocabulary_size=8, width=8, depth=1, heads=2)
    for name, says in zip(ATTRIBUTES, made.says, strict=True):
        torch.nn.init.zeros_(says.weight)
        torch.nn.init.zeros_(says.bias)
        with torch.no_grad():
            for answer, value in logits.get(name, {0: 20.0}).items():
                says.bias[answer] = value
    return made


SLOTS = torch.zeros(1, len(ATTRIBUTES), 8)


def test_what_a_caption_says_is_planned_whatever_the_chance() -> None:
    reader = reader_that_says(colour={7: 20.0})
    for chance in (0.0, 0.5, 1.0):
        said = reader.decided(SLOTS, torch.full((1, len(PLAN)), chance))
        assert said.shape == (1, len(PLAN))
        assert said[0, :TEMPO].tolist() == [7 if name == "colour" else 0 for name in ATTRIBUTES]


def test_what_it_leaves_open_is_decided_in_proportion() -> None:
    # two of three line drawings, one of three flat: e^.693 = 2
    reader = reader_that_says(style={1: 0.6931})
    chance = torch.rand(3000, len(PLAN), generator=torch.Generator().manual_seed(1))
    said = reader.decided(SLOTS.expand(3000, -1, -1), chance)
    assert float((said[:, STYLE] == 1).float().mean()) == pytest.approx(2 / 3, abs=0.03)
    shares = torch.bincount(said[:, TEMPO], minlength=3) / 3000
    assert torch.allclose(shares, torch.full((3,), 1 / 3), atol=0.03)
    assert torch.equal(said, reader.decided(SLOTS.expand(3000, -1, -1), chance))


def test_the_ends_of_chance_are_answers_too() -> None:
    reader = reader_that_says(colour={})
    low, high = (int(reader.decided(SLOTS, torch.full((1, len(PLAN)), c))[0, COLOUR]) for c in (0.0, 1.0))
    assert (low, high) == (0, ATTRIBUTES["colour"] - 1)


def test_a_word_says_what_it_makes_likelier_and_no_more() -> None:
    reader = reader_that_says(colour={16: 3.0})
    says = reader.says[COLOUR]
    with torch.no_grad():
        # one of the slots' values speaks for the colour 7, which stays less likely than none
        says.weight[7, 0] = 1.0
    blue = SLOTS.clone()
    blue[0, COLOUR, 0] = 2.5
    assert int(reader.answer(blue)[COLOUR].argmax()) == 16
    assert reader.said(blue, SLOTS)[0].tolist() == [7 if name == "colour" else OPEN for name in PLAN]
    assert (reader.said(SLOTS, SLOTS) == OPEN).all()


def test_an_answer_that_is_not_wanted_is_not_drawn_but_what_is_said_is() -> None:
    chance = torch.rand(500, len(PLAN), generator=torch.Generator().manual_seed(2))
    slots, without = SLOTS.expand(500, -1, -1), torch.full((500, len(PLAN)), OPEN)
    without[:, COLOUR] = 4
    drawn = reader_that_says(colour={4: 1.0}).decided(slots, chance)[:, COLOUR]
    assert (drawn == 4).any()
    avoided = reader_that_says(colour={4: 1.0}).decided(slots, chance, without)[:, COLOUR]
    assert not (avoided == 4).any()
    assert len(avoided.unique()) > 10
    assert (reader_that_says(colour={4: 20.0}).decided(slots, chance, without)[:, COLOUR] == 4).all()


def test_a_plan_is_stated_answer_by_answer() -> None:
    reader = FiligranaReader(vocabulary_size=8, width=8, depth=1, heads=2)
    with torch.no_grad():
        reader.typical.copy_(torch.arange(len(reader.typical))[:, None].expand(-1, 8))
        reader.unsaid.copy_(-1.0 - torch.arange(len(PLAN))[:, None].expand(-1, 8))
    first = torch.tensor([0, *PLAN.values()][:-1]).cumsum(0)
    last = torch.tensor(list(PLAN.values())) - 1
    slots = reader.stated(torch.stack((torch.zeros_like(last), last, torch.full_like(last, OPEN))))
    assert slots.shape == (3, len(PLAN), 8)
    assert torch.equal(slots[0, :, 0], first.float())
    assert torch.equal(slots[1, :, 0], (first + last).float())
    assert torch.equal(slots[2, :, 0], -1.0 - torch.arange(len(PLAN)))
    assert int(first[-1] + last[-1]) == len(reader.typical) - 1


def test_a_shots_plan_is_its_attributes_and_how_fast_it_goes() -> None:
    for shot in draw(plain_atlas(), 31, 20):
        assert plan(shot) == [*attributes(shot), TEMPI.index(shot.tempo)]
        assert all(0 <= answer < count for answer, count in zip(plan(shot), PLAN.values(), strict=True))


def test_plans_are_stated_as_captions_that_say_so_are_read() -> None:
    torch.manual_seed(1)
    pipe = tiny_shots(["a red dog", "un perro rojo"])
    reader = pipe.reader
    with torch.no_grad():
        for says in reader.says:
            says.weight.div_(100)
    train_reader.settle(reader, pipe.tokenizer, plain_atlas(), count=200)
    assert torch.isfinite(reader.typical).all()
    nothing = reader(tokenize(pipe.tokenizer, [""], LENGTH))[0]
    assert torch.allclose(reader.unsaid[:TEMPO], nothing, atol=1e-6)
    assert not reader.unsaid[TEMPO].any()
    tempi = reader.typical[-PLAN["tempo"] :]
    assert torch.allclose(tempi @ tempi.T, torch.diag((tempi**2).sum(1)), atol=1e-5)
    # captions have no word that this one knows: all are read alike, and so is every answer that was true of one
    answers = {answer for shot in draw(plain_atlas(), 5, 5) for answer in [attributes(shot)[0]]}
    for answer in answers:
        assert torch.allclose(reader.typical[answer], reader.typical[next(iter(answers))], atol=0.5)


# The pipeline


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_shots(["a red dog", "un perro rojo", "blue"])


def noise(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, len(PLAN), generator=torch.Generator().manual_seed(seed))


def test_one_noise_makes_one_plan(pipe: Any) -> None:
    with torch.no_grad():
        one, again, other = (pipe.plan(["a red dog"] * 2, [""] * 2, noise(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    # how fast is never said, so two plans in a hundred noises differ in it
    with torch.no_grad():
        many = pipe.plan(["a red dog"] * 100, [""] * 100, noise(3).new_empty(100, len(PLAN)).normal_())[0]
    assert len(many[:, TEMPO].unique(dim=0)) == PLAN["tempo"]
    assert one.shape == other.shape == (2, len(PLAN), 32)


def test_nothing_is_avoided_where_nothing_is_said_against(pipe: Any) -> None:
    with torch.no_grad():
        _, plain = pipe.plan(["a red dog"] * 2, [""] * 2, noise())
        _, against = pipe.plan(["a red dog"] * 2, ["blue"] * 2, noise())
    assert torch.equal(plain, pipe.reader.stated(torch.full((2, len(PLAN)), OPEN)))
    assert not torch.equal(plain, against)


def test_several_of_one_prompt_have_plans_of_their_own(pipe: Any) -> None:
    out = pipe(["a red dog", "blue"], num_images_per_prompt=3, num_inference_steps=1, output_type="latent",
               generator=torch.Generator().manual_seed(1)).images  # fmt: skip
    assert len(out) == 6
    assert len(out.unique(dim=0)) == 6
