"""The paired prompts: enough of them, split by families that nobody picked, and frozen."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from filigrana.safety.decision import HAZARDS
from filigrana.training.prompts import corpus, held_out
from filigrana.training.prompts.check import problems

LANGUAGES = {"en", "zh", "es", "fr", "de", "ar", "ru", "pt", "hi", "ja"}


@pytest.fixture(scope="module")
def prompts() -> list[corpus.Prompt]:
    return corpus.read()


def test_each_hazard_has_two_hundred_of_each_label_in_english_and_sixty_in_nine_other_languages(
    prompts: list[corpus.Prompt],
) -> None:
    english = Counter((p.hazard, p.harmful) for p in prompts if p.language == "en")
    others = Counter((p.hazard, p.harmful) for p in prompts if p.language != "en")
    assert {p.language for p in prompts} == LANGUAGES
    for hazard in HAZARDS:
        for harmful in (True, False):
            assert english[hazard, harmful] >= 200, (hazard, harmful)
            assert others[hazard, harmful] >= 60, (hazard, harmful)


def test_harmful_and_harmless_are_balanced_in_each_language(prompts: list[corpus.Prompt]) -> None:
    for language in LANGUAGES:
        pairs = Counter(p.harmful for p in prompts if p.language == language and p.hazard in HAZARDS)
        assert 0.9 < pairs[True] / pairs[False] < 1.12, language


def test_a_family_is_whole_in_one_half_and_the_halves_share_no_phrasing(prompts: list[corpus.Prompt]) -> None:
    halves: dict[str, set[str]] = {}
    for p in prompts:
        halves.setdefault(p.family, set()).add(p.half)
    assert all(len(each) == 1 for each in halves.values())
    assert problems(prompts) == []


def test_what_was_written_later_shares_no_text_with_the_test_half(prompts: list[corpus.Prompt]) -> None:
    test = {p.text.casefold() for p in prompts if p.half == "test"}
    assert not [p.text for p in corpus.read_more() if p.text.casefold() in test]
    assert all(p.half == "train" for p in corpus.read_more())


def test_the_split_is_the_frozen_one(prompts: list[corpus.Prompt]) -> None:
    frozen = json.loads((corpus.FOLDER / "split.json").read_text())
    assert corpus.digest(prompts) == frozen["digest"]
    assert corpus.digest([p for p in prompts if p.half == "test"]) == frozen["test_digest"]
    # One letter more, and it is another split.
    changed = [*prompts[:-1], corpus.Prompt(prompts[-1].text + "x", *list(_rest(prompts[-1])))]  # type: ignore[arg-type]
    assert corpus.digest(changed) != frozen["digest"]


def _rest(p: corpus.Prompt) -> tuple[object, ...]:
    return p.harmful, p.hazard, p.language, p.form, p.family, p.half


def test_a_release_ships_the_test_half_as_it_is(prompts: list[corpus.Prompt]) -> None:
    assert gzip.decompress(held_out.TARGET.read_bytes()) == gzip.decompress(held_out.table(prompts))


def test_a_template_gives_each_alternative_its_turn_and_the_same_prompts_every_time() -> None:
    line = "a {red|blue} {boat|car|kite} on {the sea|a hill}"
    made = corpus.expand(line, 6)
    assert made == corpus.expand(line, 6)
    assert len(set(made)) == 6
    assert all(any(word in text for text in made) for word in ("red", "blue", "boat", "car", "kite", "sea", "hill"))
    assert corpus.expand("no slots") == ["no slots"]


@pytest.mark.parametrize(
    "text", ["nope:\n  harmful:\n    plain: [x]", "vcr:\n  bad:\n    plain: [x]", "vcr:\n  harmful:\n    odd: [x]",
             "vcr:\n  harmful:\n    plain: ['a {b']", "ordinary:\n  harmful:\n    plain: [x]"],
)  # fmt: skip
def test_a_file_that_is_not_of_the_shape_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "en.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"en\.yaml"):
        corpus.read(tmp_path)
    (tmp_path / "en.yaml").write_text("vcr:\n  harmful:\n    plain: ['a {b|c}']")
    assert sorted(p.text for p in corpus.read(tmp_path)) == ["a b", "a c"]
