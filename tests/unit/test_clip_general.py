"""Any open_clip model as a guard: its phrasings, its calibration on one's own pictures, and refusal without one."""

from __future__ import annotations

import csv
import json
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from filigrana.errors import InputError, SafetyError
from filigrana.pipeline.calibration import labelled
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.guards import frame_guards
from filigrana.safety.decision import HAZARDS, Verdict, checked_scores
from filigrana.safety.output import OutputJudge
from filigrana.safety.policy import load_pack
from filigrana.safety.vision.calibrating import Share, auc, fit, platt
from filigrana.safety.vision.clip_general import CALIBRATION_FILE, GeneralClipGuard, read_wording
from filigrana.tests.doubles import calm, scene

SHIPPED = (resources.files("filigrana.safety.vision") / "phrasings" / "general.yaml").read_bytes()
SEEN = {"vcr", "src", "cse", "ssh", "iwp", "hte", "prv", "ipv", "sxc", "gore", "dst", "pub", "mis", "sub"}


# ── phrasings ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_every_hazard_that_can_be_seen_has_phrasings_and_look_alikes() -> None:
    wording = read_wording(SHIPPED)
    assert set(wording.positive) == SEEN
    assert all(len(texts) >= 8 for texts in wording.positive.values())
    assert all(len(texts) >= 5 for texts in wording.negative.values())
    assert len(wording.templates) >= 3
    every = [text for texts in (*wording.positive.values(), *wording.negative.values(), wording.safe) for text in texts]
    assert len(every) == len(set(every))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("safe"), lambda d: d.pop("hazards"), lambda d: d["hazards"].clear(),
        lambda d: d["templates"].pop(), lambda d: d["templates"].append("no place"),
        lambda d: d["hazards"]["iwp"]["positive"].pop(), lambda d: d["hazards"]["iwp"]["negative"].clear(),
        lambda d: d["hazards"].update(xyz=d["hazards"]["iwp"]), lambda d: d["hazards"].update(iwp=None),
    ],
)  # fmt: skip
def test_incomplete_phrasings_are_refused(change: Any) -> None:
    document = yaml.safe_load(SHIPPED)
    change(document)
    with pytest.raises(SafetyError):
        read_wording(yaml.safe_dump(document).encode())


@given(st.binary(max_size=80))
def test_what_is_no_yaml_of_phrasings_is_refused(data: bytes) -> None:
    with pytest.raises(SafetyError):
        read_wording(data)


# ── fitting ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_curve_tells_apart_what_can_be_told_apart() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(200) % 2 == 0
    fitted = fit(rng.normal(0, 0.02, 200) + np.where(truth, 0.05, -0.05), truth)
    assert fitted.auc > 0.98
    assert fitted.caught.low > 0.85
    assert fitted.flagged.high < 0.15


def test_noise_is_not_told_apart_and_a_wrong_order_is_not_turned_round() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(400) % 2 == 0
    assert 0.4 < fit(rng.normal(0, 1, 400), truth).auc < 0.6
    wrong = fit(np.where(truth, -1.0, 1.0) + rng.normal(0, 0.1, 400), truth)
    assert wrong.auc < 0.05
    assert wrong.slope >= 0


@given(st.integers(0, 500), st.integers(0, 500))
def test_intervals_hold_their_share(count: int, more: int) -> None:
    share = Share.of(count, count + more)
    assert 0 <= share.low <= (count / (count + more) if count + more else 0.5) + 1e-9
    assert share.low <= share.high <= 1


@given(st.lists(st.floats(-1, 1), min_size=16, max_size=40))
def test_a_curve_never_falls(values: list[float]) -> None:
    truth = np.arange(len(values)) % 2 == 0
    slope, offset = platt(np.array(values), truth)
    assert slope >= 0
    assert np.isfinite([slope, offset]).all()


@pytest.mark.parametrize("raw", [np.zeros(10), np.full(40, np.nan)])
def test_too_little_and_no_numbers_are_no_fit(raw: Any) -> None:
    with pytest.raises(InputError):
        fit(raw, np.arange(len(raw)) % 2 == 0)


def test_ties_count_half() -> None:
    assert auc(np.zeros(10), np.arange(10) < 5) == 0.5


# ── a model from a folder ────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip folder of the real classes with random weights."""
    torch = pytest.importorskip("torch", reason="needs the extra `generate`")
    from safetensors.torch import load_file, save_file

    from filigrana.pipeline.torch_compat import ready

    ready()
    folder = tmp_path_factory.mktemp("clip") / "tiny"
    folder.mkdir()
    shipped = Path(str(resources.files("filigrana.models"))) / "clip"
    for name in ("open_clip_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shipped / name, folder / name)
    torch.manual_seed(0)
    tensors = {
        name: torch.randn_like(tensor.float()) * 0.1 if tensor.is_floating_point() and tensor.ndim > 1 else tensor
        for name, tensor in load_file(shipped / "open_clip_model.safetensors").items()
    }
    save_file(tensors, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "labelled"
    for number, name in enumerate(("harmful", "harmless")):
        for hazard, count in (("iwp", 10), ("gore", 10), ("sub", 3), ("ncr", 9)):
            place = folder / hazard / name
            place.mkdir(parents=True)
            for each in range(count):
                Image.fromarray(scene(100 * number + each, 64, 64)).save(place / f"{each}.png")
    return folder


@pytest.mark.generate
def test_without_a_calibration_of_its_own_a_person_looks(tiny: Path, tmp_path: Path) -> None:
    guard = GeneralClipGuard(str(tiny), tmp_path / CALIBRATION_FILE)
    raw = guard.raw_scores(scene(1))
    assert set(raw) == SEEN
    assert all(np.isfinite(list(raw.values())))
    with pytest.raises(SafetyError) as caught:
        guard.score(scene(1))
    assert caught.value.code == "safety.uncalibrated"
    judge = OutputJudge(load_pack("newsroom"), [guard, *calm("clip")], origin="generated")
    judge.watch(scene(1), 0.0)
    judge.look(scene(1))
    assert judge.decision().code == "output.guard_failed"


@pytest.mark.generate
def test_calibrating_by_the_command_makes_it_answer_and_any_change_makes_it_stale(
    tiny: Path, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    monkeypatch.setenv("FILIGRANA_CLIP_MODEL", str(tiny))
    result = CliRunner().invoke(app, ["--data-dir", str(data), "safety", "calibrate", str(pictures), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert set(told["hazards"]) == {"iwp", "gore"}
    assert told["hazards"]["iwp"]["caught"]["total"] == 10
    assert [text.split(":")[0] for text in told["left_out"]] == ["ncr", "sub"]
    guard = frame_guards(["clip"], data, str(tiny))[0]
    scores = checked_scores("clip", dict(guard.score(scene(1))))  # type: ignore[union-attr]
    assert {hazard for hazard, _ in scores} == {"iwp", "gore"}
    # A rule that reads `sub`, which was left out, is not answered: a person looks.
    judge = OutputJudge(load_pack("newsroom"), [guard, *calm("clip")], origin="generated")
    judge.watch(scene(1), 0.0)
    judge.look(scene(1))
    assert judge.decision().verdict >= Verdict.REVIEW
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    weights = bytearray((other / "open_clip_model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "open_clip_model.safetensors").write_bytes(weights)
    with pytest.raises(SafetyError) as caught:
        GeneralClipGuard(str(other), data / CALIBRATION_FILE).score(scene(1))
    assert caught.value.code == "safety.stale_calibration"
    for text, code in (
        ("{}", "uncalibrated"),
        ("", "uncalibrated"),
        (json.dumps({"digest": guard.model.digest, "curves": {}}), "uncalibrated"),
    ):  # type: ignore[union-attr]
        (data / CALIBRATION_FILE).write_text(text)
        with pytest.raises(SafetyError) as caught:
            GeneralClipGuard(str(tiny), data / CALIBRATION_FILE).score(scene(1))
        assert caught.value.code == f"safety.{code}"


@pytest.mark.generate
@pytest.mark.parametrize("name", ["no such:model", "ViT-B-32", "ViT-B-32:nowhere"])
def test_a_model_that_is_not_there_is_an_error(tmp_path: Path, tiny: Path, name: str) -> None:
    with pytest.raises(SafetyError) as caught:
        GeneralClipGuard(name, tmp_path / CALIBRATION_FILE).raw_scores(scene(1))
    assert caught.value.code == "safety.missing"


@pytest.mark.generate
def test_pickles_are_refused(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(tiny, folder)
    (folder / "open_clip_model.safetensors").rename(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(SafetyError, match="pickles"):
        GeneralClipGuard(str(folder), tmp_path / CALIBRATION_FILE).raw_scores(scene(1))


# ── labelled pictures ────────────────────────────────────────────────────────────────────────────────────────────
def test_labels_come_from_folders_or_a_table(pictures: Path) -> None:
    found = labelled(pictures)
    assert len(found) == 64
    assert {hazard for _, hazard, _ in found} <= set(HAZARDS)
    table = pictures / "labels.csv"
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "hazard", "harmful"])
        writer.writerow(["iwp/harmful/0.png", "iwp", "1"])
    assert labelled(table) == [(pictures / "iwp/harmful/0.png", "iwp", True)]
    for line in ("a.png,xyz,1", "a.png,iwp,yes", ",iwp,1"):
        table.write_text(f"file,hazard,harmful\n{line}\n")
        with pytest.raises(InputError):
            labelled(table)


def test_nothing_labelled_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        labelled(tmp_path)


def test_the_embedded_model_needs_no_calibrating(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["safety", "calibrate", str(tmp_path)])
    assert result.exit_code == 1
