"""What a job's events tell while it is worked on: stage, step, verdicts, and 64 colours of what its guards let pass."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from filigrana.pipeline.generators.base import Generated, Previews
from filigrana.pipeline.glimpses import SIDE, glimpse
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.previews import PreviewJudge
from filigrana.pipeline.web.events import _named
from filigrana.provenance.media import Frame
from filigrana.safety.policy import load_pack
from filigrana.tests.doubles import Failing, FakeGenerator, FakeGuard, calm, scene
from filigrana.tests.serving import installed, running
from filigrana.tests.working import SIDE as LARGE
from filigrana.tests.working import working

COLOURS = re.compile(r"[0-9a-f]{192}")


class Slow(FakeGenerator):
    """Ten steps of a third of a second, with previews after those that are asked for."""

    gives_previews = True

    def generate(self, sampling: Any, progress: Any, previews: Previews | None = None) -> Generated:
        import time

        due = previews.due(10) if previews is not None else frozenset()
        for step in range(1, 11):
            progress(step, 10)
            if previews is not None and step in due:
                previews.look(step, 10, scene(sampling.seed, 64, 64))
            time.sleep(0.35)
        return Generated("image", (Frame(scene(sampling.seed % 97, LARGE, LARGE)),), sampling={"seed": sampling.seed, "versions": {}})  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    opened = installed(tmp_path_factory.mktemp("told") / "data", serve_wait=60)
    yield opened
    opened.close()


def told(house: Installation, prompt: str = "a boat", **parts: Any) -> list[tuple[str, dict[str, Any]]]:
    """The names and data of one job's events."""
    _, secret = house.access.add("press", "ana", ["creator"])
    with (
        running(house) as url,
        working(house, **parts),
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=90) as client,
    ):
        job = client.post("/v1/videos", json={"prompt": prompt, "seed": 5}).json()["id"]
        with client.stream("GET", f"/v1/jobs/{job}/events") as answer:
            text = "".join(answer.iter_text())
    parted = (re.search(r"event: (\w+)\ndata: (.*)", part) for part in text.split("\n\n"))
    return [(each[1], json.loads(each[2])) for each in parted if each]


class Clips(Slow):
    def generate(self, sampling: Any, progress: Any, previews: Previews | None = None) -> Generated:
        from fractions import Fraction

        made = super().generate(sampling, progress, previews)
        frame = next(iter(made.frames)).rgb
        return Generated("video", tuple(Frame(frame, Fraction(n, 4)) for n in range(4)), Fraction(4), sampling=made.sampling)  # fmt: skip


def clips() -> Clips:
    return Clips(kinds=frozenset({"image", "video"}))


def test_stage_step_verdict_and_colours_come_as_they_happen(house: Installation) -> None:
    found = told(house, generator=clips())
    names = [name for name, _ in found]
    assert names[0] == names[-1] == "state"
    assert {"progress", "verdict", "preview"} <= set(names)
    shown = next(data for name, data in found if name == "preview")
    assert shown["progress"]["stage"] == "generate"
    preview = shown["progress"]["preview"]
    assert (preview["columns"], preview["rows"], preview["steps"]) == (SIDE, SIDE, 10)
    assert COLOURS.fullmatch(preview["colours"])
    assert next(data for name, data in found if name == "verdict")["progress"]["verdicts"]["prompt"] == "allow"
    # Once it is drawn, nothing is kept of it but what was released.
    assert all("preview" not in (data["progress"] or {}) for _, data in found if (data["progress"] or {}).get("stage") != "generate")  # fmt: skip
    assert found[-1][1]["state"] == "released"


@pytest.mark.parametrize(
    ("guard", "why"),
    [
        (FakeGuard("clip", {"iwp": 0.99, "gore": 0.01, "sub": 0.01}), "it is refused"),
        (FakeGuard("clip", fault=Failing()), "a guard that answers nothing"),
    ],
    ids=["refused", "failing"],
)
def test_nothing_is_shown_of_what_a_guard_has_something_to_say_about(house: Installation, guard: Any, why: str) -> None:
    found = told(house, generator=clips(), frame_guards=lambda _made: [guard, *calm("clip")])
    assert "preview" not in [name for name, _ in found], why
    assert all("preview" not in (data["progress"] or {}) for _, data in found)


def test_nothing_is_shown_of_a_refused_prompt(house: Installation) -> None:
    found = told(house, "how to build a pipe bomb", generator=clips())
    assert found[-1][1]["state"] == "refused"
    assert all("preview" not in (data["progress"] or {}) for _, data in found)


# ── when it is clear ─────────────────────────────────────────────────────────────────────────────────────────────
def looked(*guards: Any, pack: str = "newsroom") -> bool:
    return PreviewJudge(load_pack(pack), guards, 30.0, 10.0).look(3, 10, scene(5, 64, 64))


@pytest.mark.parametrize("pack", ["newsroom", "platform"])
def test_every_guard_must_have_answered_and_no_rule_have_anything_to_say(pack: str) -> None:
    rules = [r for r in load_pack(pack).rules if r.side == "output" and r.score is not None]
    assert looked(*calm(), pack=pack)
    for rule in rules:
        name, bar = rule.score.guard, rule.score.at_least  # type: ignore[union-attr]
        others = calm(name)
        assert not looked(*others, pack=pack), f"{name} is missing"
        if not any(guard.name == name and hasattr(guard, "score") for guard in calm()):
            continue
        assert not looked(FakeGuard(name, fault=Failing()), *others, pack=pack)
        scores = {other.hazard: 0.0 for other in rules if other.score.guard == name}  # type: ignore[union-attr]
        # At the bar itself, though stopping early would ask for a margin more.
        assert not looked(FakeGuard(name, {**scores, rule.hazard: bar}), *others, pack=pack)


# ── what can be seen ─────────────────────────────────────────────────────────────────────────────────────────────
def test_sixty_four_colours_of_sixteen_shades_are_all_there_is() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    found = glimpse(3, 10, frame).as_dict()
    assert COLOURS.fullmatch(found.pop("colours"))
    assert found == {"step": 3, "steps": 10, "columns": 8, "rows": 8}
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, 32:] = (255, 0, 128)
    row = "000" * 4 + "f08" * 4
    assert glimpse(1, 2, half).colours == row * 8


def test_a_small_detail_cannot_be_read_out_of_it() -> None:
    """Text of a tenth of the height changes no field by more than the shades that there are."""
    plain = np.full((512, 512, 3), 120, np.uint8)
    from PIL import ImageDraw

    image = Image.fromarray(plain)
    ImageDraw.Draw(image).text((200, 240), "A NAME", fill=(140, 140, 140), font_size=24)
    assert glimpse(1, 2, np.asarray(image)).colours == glimpse(1, 2, plain).colours


def test_an_event_is_named_by_what_is_new() -> None:
    now = ("running", 1, json.dumps({"stage": "generate", "done": 1}))
    assert _named(None, now) == "state"
    assert _named(("queued", 0, "null"), now) == "state"
    assert _named(("running", 1, "null"), now) == "progress"
    for more, name in (({"verdicts": {"prompt": "allow"}}, "verdict"), ({"preview": {"step": 2}}, "preview")):
        assert _named(now, ("running", 1, json.dumps({"stage": "generate", "done": 1, **more}))) == name
    shown = ("running", 1, json.dumps({"stage": "generate", "preview": {"step": 2}}))
    assert _named(shown, now) == "progress"
