"""The register of protected works: what is found, what is not, and what a damaged register means."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps
from typer.testing import CliRunner

from filigrana.errors import InputError, SafetyError
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.register import FILE, Register
from filigrana.safety.decision import Verdict
from filigrana.safety.output import OutputJudge
from filigrana.safety.policy import load_pack
from filigrana.safety.vision.copies import CopyGuard, CopyIndex, Work
from filigrana.safety.vision.prints import Print, fingerprint, likeness
from filigrana.tests.doubles import Failing, calm, scene

Change = Callable[[Image.Image], Image.Image]
PICTURES = [Image.fromarray(scene(seed, 480, 400)) for seed in range(12)]
PRINTS = [fingerprint(np.asarray(picture)) for picture in PICTURES]


def jpeg(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=30)
    return Image.open(buffer).convert("RGB")


def crop(share: float, left: float = 0.5, top: float = 0.5) -> Change:
    """Keeps that share of the area."""

    def cut(picture: Image.Image) -> Image.Image:
        width, height = (round(side * share**0.5) for side in picture.size)
        x, y = round((picture.width - width) * left), round((picture.height - height) * top)
        return picture.crop((x, y, x + width, y + height))

    return cut


def captioned(picture: Image.Image) -> Image.Image:
    made = picture.copy()
    draw = ImageDraw.Draw(made)
    draw.rectangle((0, round(made.height * 0.82), made.width, made.height), fill="black")
    draw.text((10, round(made.height * 0.85)), "WHEN MONDAY COMES", font=ImageFont.load_default(30), fill="white")
    return made


CHANGES: dict[str, Change] = {
    "as it is": lambda p: p,
    "JPEG 30": jpeg,
    "smaller": lambda p: p.resize((p.width // 3, p.height // 3)),
    "flipped": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "quarter turn": lambda p: p.rotate(90, expand=True),
    "turned by 5": lambda p: p.rotate(5, Image.Resampling.BICUBIC),
    "turned by 20": lambda p: p.rotate(20, Image.Resampling.BICUBIC),
    "90 %": crop(0.9), "75 %": crop(0.75), "60 %": crop(0.6), "50 %": crop(0.5), "50 % of a corner": crop(0.5, 0, 0),
    "captioned": captioned,
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.4),
    "less contrast": lambda p: ImageEnhance.Contrast(p).enhance(0.6),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "other colours": lambda p: Image.merge("RGB", p.split()[::-1]),
    "a flipped corner as JPEG": lambda p: jpeg(crop(0.75, 1, 0)(ImageOps.mirror(p))),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_copy_is_found(change: Change) -> None:
    found = [
        likeness(fingerprint(np.asarray(change(p))), known) >= 0.6 for p, known in zip(PICTURES, PRINTS, strict=True)
    ]
    assert sum(found) >= len(found) - 1


def test_other_pictures_are_not() -> None:
    scores = [likeness(a, b) for number, a in enumerate(PRINTS) for b in PRINTS[number + 1 :]]
    assert max(scores) < 0.5


def test_flat_pictures_are_like_nothing() -> None:
    flat = [fingerprint(np.full((200, 300, 3), level, np.uint8)) for level in (0, 10, 128, 255)]
    assert max(likeness(a, b) for a in flat for b in [*flat, *PRINTS]) == 0.0


@given(st.integers(16, 70), st.integers(16, 70), st.integers(0, 9))
def test_any_picture_has_a_fingerprint_that_survives_being_stored(width: int, height: int, seed: int) -> None:
    made = fingerprint(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))
    back = Print.from_bytes(made.to_bytes())
    assert np.array_equal(back.hashes, made.hashes)
    assert 0 <= likeness(made, back) <= 1


@pytest.mark.parametrize(
    "frame", [np.zeros((8, 8, 3), np.uint8), np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3), np.float64)]
)
def test_what_is_no_picture_has_none(frame: Any) -> None:
    with pytest.raises(SafetyError):
        fingerprint(frame)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_fingerprint_are_an_error(data: bytes) -> None:
    with pytest.raises(SafetyError):
        Print.from_bytes(data)


def test_a_work_is_found_among_many() -> None:
    works = [Work(n, str(n), "", "", (fingerprint(scene(n, 300, 260)),)) for n in range(40)]
    index = CopyIndex(works, "0" * 64)
    for n in (0, 17, 39):
        asked = np.asarray(crop(0.6, 0, 1)(ImageOps.mirror(Image.fromarray(scene(n, 300, 260)))))
        score, work = index.nearest(asked)
        assert score >= 0.6
        assert work is works[n]
    assert index.nearest(scene(77, 300, 260))[0] < 0.5


# ── the register ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, picture in zip(paths, PICTURES[:3], strict=True):
        picture.save(path)
    return paths


def test_works_are_added_listed_found_and_removed(tmp_path: Path, files: list[Path]) -> None:
    register = Register(tmp_path / FILE)
    assert register.entries() == []
    assert register.nearest(files[0]) == (0.0, None)
    first = register.add(files[0], title="Boat", owner="A. Artist", reference="contract 7")
    register.add(files[1])
    assert [(e.title, e.owner, e.frames) for e in register.entries()] == [("Boat", "A. Artist", 1), ("1", "", 1)]
    score, work = register.nearest(files[0])
    assert score == 1.0
    assert work is not None
    assert work.reference == "contract 7"
    with pytest.raises(InputError):
        register.add(files[0])
    register.remove(first.number)
    assert register.nearest(files[0])[0] < 0.5
    with pytest.raises(InputError):
        register.remove(first.number)


def test_what_another_process_adds_is_seen(tmp_path: Path, files: list[Path]) -> None:
    one, other = Register(tmp_path / FILE), Register(tmp_path / FILE)
    assert one.nearest(files[0])[0] == 0.0
    other.add(files[0])
    assert one.nearest(files[0])[0] == 1.0


def test_of_a_clip_each_sampled_frame_is_registered(tmp_path: Path) -> None:
    from fractions import Fraction

    from filigrana.provenance.media import Frame, encode_clip

    path = tmp_path / "clip.mp4"
    frames = [Frame(scene(n // 10, 320, 240), Fraction(n, 10)) for n in range(30)]
    encode_clip(iter(frames), path, "video/mp4", rate=Fraction(10))
    register = Register(tmp_path / FILE)
    assert register.add(path).frames == 3
    assert register.index().nearest(scene(1, 320, 240))[0] >= 0.8


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a byte": lambda p: overwrite(p),
    "cut short": lambda p: p.write_bytes(p.read_bytes()[:5000]),
    "emptied": lambda p: p.write_bytes(b""),
    "no database": lambda p: p.write_text("nothing"),
    "a row gone": lambda p: _sql(p, "delete from works where number = 1"),
    "prints gone": lambda p: _sql(p, "delete from prints"),
    "all rows gone": lambda p: _sql(p, "delete from prints", "delete from works"),
    "another version": lambda p: _sql(p, "update state set version = '0'"),
    "a print changed": lambda p: _sql(p, "update prints set data = x'00' where work = 1"),
    "a title changed": lambda p: _sql(p, "update works set title = 'x' where number = 1"),
}  # fmt: skip


def overwrite(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    path.write_bytes(data)


def _sql(path: Path, *statements: str) -> None:
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_register_means_that_a_person_looks(tmp_path: Path, files: list[Path], damage: Any) -> None:
    register = Register(tmp_path / FILE)
    register.add(files[0])
    register.add(files[1])
    damage(tmp_path / FILE)
    judge = OutputJudge(
        load_pack("platform"), [CopyGuard(Register(tmp_path / FILE).index), *calm("copies")], origin="generated"
    )
    judge.watch(scene(9), 0.0)
    judge.look(scene(9))
    assert judge.decision().code == "output.guard_failed"


@pytest.mark.parametrize(("seed", "code"), [(0, "output.ipv"), (50, "output.allowed")])
def test_a_registered_work_is_refused_and_another_is_not(
    tmp_path: Path, files: list[Path], seed: int, code: str
) -> None:
    register = Register(tmp_path / FILE)
    register.add(files[0])
    for name, verdict in (("platform", Verdict.BLOCK), ("newsroom", Verdict.REVIEW)):
        judge = OutputJudge(load_pack(name), [CopyGuard(register.index), *calm("copies")], origin="generated")
        picture = scene(seed, 480, 400)
        judge.watch(picture, 0.0)
        judge.look(picture)
        decision = judge.decision()
        assert decision.code == code
        assert decision.verdict is (verdict if seed == 0 else Verdict.ALLOW)
        ran = next(run for run in decision.guards if run.guard == "copies")
        assert ran.model is not None
        assert ran.model.digest == register.index().digest


@pytest.mark.parametrize("fault", [Failing("raise"), Failing("hang"), Failing("none")])
def test_a_register_that_does_not_answer_means_that_a_person_looks(fault: Any) -> None:
    judge = OutputJudge(load_pack("platform"), [CopyGuard(fault), *calm("copies")], origin="generated", timeout=0.3)
    judge.watch(scene(1), 0.0)
    judge.look(scene(1))
    assert judge.decision().code == "output.guard_failed"


def test_an_empty_register_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filigrana.safety.vision.copies.fingerprint", lambda frame: 1 / 0)
    assert CopyGuard(Register(tmp_path / FILE).index).score(scene(1)) == {"ipv": 0.0}
    assert not (tmp_path / FILE).exists()


# ── the commands ─────────────────────────────────────────────────────────────────────────────────────────────────
def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["safety", "register", *words])
    assert result.exit_code == code, result.output
    return result.output


def test_the_commands(files: list[Path]) -> None:
    added = json.loads(run("add", str(files[0]), "--title", "Boat", "--owner", "A", "--reference", "R", "--json"))
    assert added[0]["title"] == "Boat"
    assert "Boat" in run("list")
    assert len(json.loads(run("list", "--json"))) == 1
    found = json.loads(run("check", str(files[0]), str(files[1]), "--json", code=5))
    assert [each["work"] is not None for each in found] == [True, False]
    assert "Boat" in run("check", str(files[0]), code=5)
    assert "no registered work" in run("check", str(files[1]))
    run("remove", "1")
    assert json.loads(run("list", "--json")) == []


def test_what_is_no_text_and_no_number_is_a_plain_error(tmp_path: Path) -> None:
    register = Register(tmp_path / "register.db")
    picture = tmp_path / "a.png"
    Image.fromarray(scene(3, 320, 320)).save(picture)
    with pytest.raises(InputError):
        register.add(picture, title="\udcff")
    for number in (0, -1, 10**22):
        with pytest.raises(InputError):
            register.remove(number)
    assert register.add(picture).title == "a"
