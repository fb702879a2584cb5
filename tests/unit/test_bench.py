"""The robustness bench: its statistics, its pictures, its attacks, and a run that survives a kill."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from filigrana.errors import FiligranaError
from filigrana.pipeline.bench import clips, generated, metrics, null, pictures, removal, runner, shapes, summary
from filigrana.pipeline.bench.attacks import ATTACKS, BARS, by_name
from filigrana.pipeline.bench.peers import Port
from filigrana.pipeline.bench.plan import QUICK_ATTACKS, BenchSettings, units
from filigrana.pipeline.bench.report import build, write_whole
from filigrana.provenance.identity import AssetId
from filigrana.provenance.media.values import Frame
from filigrana.provenance.watermark.base import Detection
from filigrana.tests.doubles import scene


class LowestBits:
    """A codec that writes the id into the lowest bits of blue, with a checksum: any change of pixels destroys it."""

    alg = "double.lowest-bits"

    def embed(self, frames: Iterable[Frame], asset_id: AssetId) -> Iterator[Frame]:
        word = asset_id.value.to_bytes(8, "big")
        bits = np.unpackbits(np.frombuffer(word + zlib.crc32(word).to_bytes(4, "big"), np.uint8))
        for frame in frames:
            rgb = frame.rgb.copy()
            flat = rgb[..., 2].reshape(-1)
            flat[: len(bits)] = flat[: len(bits)] & 0xFE | bits
            rgb[..., 2] = flat.reshape(rgb.shape[:2])
            yield Frame(rgb, frame.time)

    def detect(self, frames: Iterable[Frame]) -> Detection:
        found, score, count = None, 0.0, 0
        for frame in frames:
            count += 1
            read = np.packbits(frame.rgb[..., 2].reshape(-1)[:96] & 1).tobytes()
            if len(read) == 12 and zlib.crc32(read[:8]) == int.from_bytes(read[8:], "big"):
                found, score = AssetId(int.from_bytes(read[:8], "big") & (1 << 60) - 1), 1.0
        return Detection(found, score, 2.0**-32 if found else 1.0, None, 0.0, count)


@pytest.fixture
def photo() -> Any:
    return scene(3, 400, 300)


# ── statistics and metrics ───────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [  # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_are_those_of_the_literature(hits: int, trials: int, low: float, high: float) -> None:
    assert metrics.wilson(hits, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_wilson_interval_holds_its_rate_and_mirrors(case: tuple[int, int]) -> None:
    hits, trials = case
    low, high = metrics.wilson(hits, trials)
    assert 0 <= low <= hits / trials <= high <= 1
    assert metrics.wilson(trials - hits, trials) == pytest.approx((1 - high, 1 - low))


def test_no_trials_say_nothing_and_more_hits_than_trials_are_refused() -> None:
    assert metrics.wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 hits of 2"):
        metrics.wilson(3, 2)


def test_ssim_and_psnr_are_those_of_scikit_image(photo: Any) -> None:
    reference = pytest.importorskip("skimage.metrics")
    changed = np.clip(photo + np.random.default_rng(0).normal(0, 6, photo.shape), 0, 255).astype(np.uint8)
    known = reference.structural_similarity(
        photo, changed, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert metrics.ssim(photo, changed) == pytest.approx(known, abs=1e-6)
    assert metrics.psnr(photo, changed) == pytest.approx(reference.peak_signal_noise_ratio(photo, changed), abs=1e-6)
    assert metrics.psnr(photo, photo) == math.inf
    assert metrics.ssim(photo, photo) == pytest.approx(1.0)


def test_flip_sees_a_visible_change_and_none_where_there_is_none(photo: Any) -> None:
    pytest.importorskip("flip_evaluator")
    loud = np.clip(photo.astype(int) + 40, 0, 255).astype(np.uint8)
    assert metrics.flip(photo, photo) == 0.0
    assert (metrics.flip(photo, loud) or 0.0) > 0.1


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_every_listed_picture_has_an_open_licence_an_author_and_the_split_of_its_digest() -> None:
    listed = pictures.sources()
    opened = ("CC0", "CC-BY-", "GPL-", "LGPL-", "public domain", "no known copyright restrictions", "BSD-3-Clause")
    for source in listed:
        assert source.licence.startswith(opened), source
        assert "NC" not in source.licence.split("-"), source
        assert "ND" not in source.licence.split("-"), source
        assert source.author, source
        assert source.split == ("tuning" if int(source.sha256[0], 16) < 8 else "test"), source
    assert len({source.sha256 for source in listed}) == len(listed)


def test_a_file_with_other_bytes_is_not_used_and_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_SHARE", tmp_path)
    source = next(s for s in pictures.sources() if s.package == "mate-backgrounds")
    absent = pictures.locate(source)
    assert isinstance(absent, pictures.Missing)
    assert (absent.reason, absent.command) == ("not installed", "apt-get install mate-backgrounds")
    (tmp_path / "backgrounds" / source.file).parent.mkdir(parents=True)
    (tmp_path / "backgrounds" / source.file).write_bytes(b"not this photograph")
    other = pictures.locate(source)
    assert isinstance(other, pictures.Missing)
    assert "another file" in other.reason


def _sources(*sizes: tuple[int, int], kind: str = "photograph") -> list[pictures.Source]:
    return [
        pictures.Source(f"{i}.png", "p", "a", "CC0-1.0", w, h, f"{i:064x}", "test", kind)
        for i, (w, h) in enumerate(sizes)
    ]


def test_whole_photographs_come_first_then_cells_of_the_largest_that_do_not_overlap() -> None:
    listed = _sources((600, 500), (4000, 3000), (511, 900))
    assert [p.name for p in pictures._plan(listed, 512, 1)] == ["1"]  # 600 x 500 and 511 x 900 would be enlarged
    cells = pictures._plan(listed, 512, 24)
    assert [p.name for p in cells] == ["1[1/4]", "1[2/4]", "1[3/4]", "1[4/4]"]
    ground = np.zeros((3000, 4000, 1), np.uint8)
    for cell in cells:
        piece = cell.cut(ground)
        assert min(piece.shape[:2]) >= 512
        piece += 1
    assert ground.max() == 1


def test_pictures_are_never_enlarged(photo: Any) -> None:
    assert pictures.scaled(photo, 256).shape == (256, 341, 3)
    assert pictures.scaled(photo, 300).shape == photo.shape
    with pytest.raises(ValueError, match="enlarged"):
        pictures.scaled(photo, 301)


def test_captions_are_the_same_for_a_seed_and_name_every_object_once_in_eighty() -> None:
    assert generated.captions(80) == generated.captions(80)
    assert generated.captions(80) != generated.captions(80, seed=1)
    assert generated.captions(200)[:80] == generated.captions(80)
    assert len(set(generated.captions(80))) == 80


# ── attacks ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_every_bar_of_the_table_has_its_attacks() -> None:
    held = {
        0.995: "none jpeg-90 jpeg-75 jpeg-50 webp-75 avif-60 png-8 brightness+30 brightness-30 contrast+30 contrast-30 "
        "gamma+30 gamma-30 saturation+30 saturation-30 noise-15 blur-2 median-5 sharpen greyscale",
        0.98: "jpeg-30 webp-50 resize-200 resize-75 resize-50 resize-35 resize-25 crop-5 crop-10 crop-25 crop-50 pad "
        "flip-h flip-v rotate-90 rotate-180 rotate-270",
        0.95: "rotate-2-filled rotate-2-inner rotate-5-filled rotate-5-inner rotate-15-filled rotate-15-inner aspect+10 "
        "aspect-10 perspective-3 screenshot page phone crop-25+resize-50+jpeg-75 screenshot+jpeg-50-twice social collage "
        "caption sticker",
    }
    assert {a.name: a.bar for a in ATTACKS} == {n: bar for bar, names in held.items() for n in names.split()}
    assert set(QUICK_ATTACKS) <= {a.name for a in ATTACKS}
    assert {a.group for a in ATTACKS if a.name in QUICK_ATTACKS} == set(BARS)
    video = {a.name: a.bar for a in clips.VIDEO_ATTACKS if a.bar is not None}
    assert video == {
        "h264-28, one frame": 0.98,
        "h264-35, 1 s": 0.98,
        "half size + h264-30, 2 s": 0.98,
        "h264-40, 5 s": 0.9,
    }


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_an_attack_gives_pixels_the_same_for_a_seed_and_leaves_its_input_alone(attack: Any, photo: Any) -> None:
    before = photo.copy()
    first, again = (attack.run(photo, attack.rng(7, "p")) for _ in range(2))
    assert first.dtype == np.uint8
    assert first.ndim == 3
    assert first.shape[2] == 3
    assert first.flags.c_contiguous
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(photo, before)
    # An attack that changes nothing would make every codec look good.
    same = first.shape == photo.shape and bool((first == photo).all())
    assert same == (attack.name == "none")


def test_what_an_attack_draws_depends_on_seed_and_picture(photo: Any) -> None:
    attack = by_name("crop-25")
    drawn = {attack.run(photo, attack.rng(seed, name)).tobytes() for seed, name in ((1, "a"), (2, "a"), (1, "b"))}
    assert len(drawn) == 3


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.1, 0.25, 0.5]))
@settings(max_examples=60, deadline=None)
def test_a_crop_removes_the_share_of_area_that_it_says(seed: int, removed: float) -> None:
    picture = np.zeros((400, 600, 3), np.uint8)
    cut = shapes.crop(picture, np.random.default_rng(seed), removed)
    assert cut.shape[0] * cut.shape[1] / (400 * 600) == pytest.approx(1 - removed, abs=0.004)


@given(st.integers(64, 400), st.integers(64, 400), st.floats(0.1, 89))
@settings(max_examples=60, deadline=None)
def test_the_inner_rectangle_of_a_turned_picture_holds_no_border(width: int, height: int, degrees: float) -> None:
    w, h = shapes.inner_rectangle(width, height, degrees)
    turn = np.deg2rad(degrees)
    for x, y in ((w / 2, h / 2), (w / 2, -h / 2)):
        u = x * np.cos(turn) + y * np.sin(turn)
        v = y * np.cos(turn) - x * np.sin(turn)
        assert abs(u) <= width / 2 + 1e-6
        assert abs(v) <= height / 2 + 1e-6


@pytest.mark.parametrize("name", ["rotate-2-inner", "rotate-5-inner", "rotate-15-inner"])
def test_inner_turns_show_no_border(name: str) -> None:
    white = np.full((300, 420, 3), 255, np.uint8)
    for seed in range(6):
        assert by_name(name).run(white, by_name(name).rng(seed, "p")).min() == 255


@pytest.mark.parametrize(
    ("name", "low", "high"), [("caption", 0.14, 0.16), ("sticker", 0.14, 0.16), ("page", 1 / 3, 1 / 2)]
)
def test_covers_and_pages_take_the_share_that_they_say(name: str, low: float, high: float) -> None:
    magenta = np.full((480, 640, 3), [255, 0, 255], np.uint8)
    for seed in range(4):
        out = by_name(name).run(magenta, by_name(name).rng(seed, "p"))
        shown = float((np.abs(out.astype(int) - [255, 0, 255]).max(2) == 0).mean())
        share = shown if name == "page" else 1 - shown
        assert low - 0.01 <= share <= high + 0.01


def test_a_screenshot_holds_the_whole_picture() -> None:
    magenta = np.full((480, 640, 3), [255, 0, 255], np.uint8)
    for seed in range(4):
        out = by_name("screenshot").run(magenta, by_name("screenshot").rng(seed, "p"))
        _, _, boxes, _ = cv2.connectedComponentsWithStats(
            (np.abs(out.astype(int) - [255, 0, 255]).max(2) == 0).astype(np.uint8)
        )
        width, height = boxes[1 + int(boxes[1:, cv2.CC_STAT_AREA].argmax())][[cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
        assert 0.59 <= width / 640 <= 1
        assert width / height == pytest.approx(640 / 480, abs=0.02)


# ── clips, unmarked material, removal ────────────────────────────────────────────────────────────────────────────
def test_a_clip_repeats_for_its_seed_and_survives_an_encoder_with_its_times(photo: Any) -> None:
    first, again = (list(clips.clip(photo, 5, 0.6, 160, 96)) for _ in range(2))
    assert [f.time for f in first] == [i / clips.RATE for i in range(15)]
    np.testing.assert_array_equal(first[-1].rgb, again[-1].rgb)
    assert (first[0].rgb != first[-1].rgb).any()
    data = clips.encoded(first, "libx264", 20)
    back = list(clips.decoded(data, 0.2, 0.2))
    assert len(back) == 5
    assert back[0].time == 0
    assert metrics.psnr(back[0].rgb, first[5].rgb) > 25 > metrics.psnr(back[0].rgb, first[5].rgb[::-1].copy())


@pytest.mark.parametrize("attack", [a for a in clips.VIDEO_ATTACKS if a.change], ids=lambda a: a.name)
def test_a_change_of_frames_keeps_times_running_and_repeats(attack: Any, photo: Any) -> None:
    data = clips.encoded(clips.clip(photo, 5, 2, 64, 48), "libx264", 28)
    runs = [list(attack.copy(data, 0.0, attack.rng(1, "p"))) for _ in range(2)]
    times = [[f.time for f in r] for r in runs]
    assert times[0] == times[1]
    assert all(a <= b for a, b in zip(times[0], times[0][1:], strict=False))
    assert 10 < len(times[0]) <= 50
    plain = list(clips.decoded(data, 0.0, attack.seconds))
    assert times[0] != [f.time for f in plain] or any(
        (a.rgb != b.rgb).any() for a, b in zip(runs[0], plain, strict=True)
    )


def test_unmarked_pictures_follow_from_their_number_alone(photo: Any) -> None:
    pool = [pictures.Picture("p", photo, "CC0-1.0", "a", "p", "test")]
    forward = [null.unmarked(1, n, pool, pool, [], []) for n in range(12)]
    for n in reversed(range(12)):
        kind, rgb = null.unmarked(1, n, pool, pool, [], [])
        assert kind == forward[n][0]
        np.testing.assert_array_equal(rgb, forward[n][1])
    assert {null.kind_of(1, n) for n in range(200)} == set(null.KINDS)
    assert min(min(rgb.shape[:2]) for _, rgb in forward) >= null.SIDES[0]


def test_estimated_pilots_are_the_frequencies_that_marked_pictures_share() -> None:
    y, x = np.mgrid[:512, :512]
    tone = 1.5 * np.cos(2 * np.pi * (40 * x + 88 * y) / 512)
    marked = [np.clip(scene(s).astype(float) + tone[..., None], 0, 255).astype(np.uint8) for s in range(4)]
    plain = [scene(s) for s in range(4)]
    near = {(88, 40), (512 - 88, 512 - 40)}

    def found(collected: list[Any]) -> bool:
        return any(tuple(int(v) for v in p) in near for p in removal.peaks(collected, 8))

    assert found(marked)
    assert not found(plain)
    cleaned = removal.notch(marked[0], removal.peaks(marked, 8))
    assert metrics.psnr(cleaned, plain[0]) > metrics.psnr(marked[0], plain[0])


# ── runs and reports ─────────────────────────────────────────────────────────────────────────────────────────────
def _settings(folder: Path, **changes: Any) -> BenchSettings:
    values: dict[str, Any] = {
        "codecs": ("double.lowest-bits",),
        "cache": folder / "cache",
        "sizes": (256,),
        "count": 2,
        "generated": 0,
        "null": 6,
        "attacks": ("none", "flip-h", "jpeg-50"),
        "sections": ("picture", "null"),
    }
    return BenchSettings(**(values | changes))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two drawn pictures in place of the photographs, which need not be installed."""
    listed = ["one", "two"]
    from filigrana.pipeline.bench import measure, plan

    def picture(_split: str, size: int, _count: int, index: int) -> pictures.Picture:
        return pictures.Picture(listed[index], scene(index, size + 40, size), "CC0-1.0", "nobody", "tests", "test")

    for module in (plan, measure):
        monkeypatch.setattr(module, "names", lambda _split, _size, count: listed[:count])
    monkeypatch.setattr(measure, "picture", picture)
    measure._material.cache_clear()


def _find(_name: str) -> Port:
    return Port(LowestBits())


def test_a_run_measures_every_cell_and_the_report_says_which_bars_are_met(few: None, tmp_path: Path) -> None:
    chosen = _settings(tmp_path)
    results = runner.run(chosen, tmp_path, jobs=0, find=_find)
    report = build(chosen, results)
    json.dumps(report, allow_nan=False)
    measured = report["codecs"]["double.lowest-bits"]["attacks"]
    assert {n: (m["all"]["exact"], m["all"]["n"]) for n, m in measured.items()} == {
        "none": (2, 2),
        "flip-h": (0, 2),
        "jpeg-50": (0, 2),
    }
    assert measured["none"]["all"]["met"]
    assert measured["flip-h"]["failed"] == ["one (256)", "two (256)"]
    rows = {bar["name"]: bar["met"] for bar in report["bars"]}
    assert rows["of 6 unmarked decodes"] is True
    assert rows["crop that removes 5-50 % of the area, pad, flips, quarter turns"] is False
    assert report["met"] is False
    assert report["null"]["n"] == 6
    assert report["split"]["name"] == "test"
    assert report["settings"]["seed"] == 1
    assert report["versions"]["numpy"] == np.__version__
    assert str(tmp_path) not in json.dumps(report)


def test_a_killed_run_goes_on_and_gives_what_an_unbroken_one_gives(few: None, tmp_path: Path) -> None:
    def without_time(results: list[dict[str, Any]]) -> Any:
        drop = {"seconds", "cpu", "embed_cpu"}

        def clean(v: Any) -> Any:
            return {k: clean(w) for k, w in v.items() if k not in drop} if isinstance(v, dict) else v

        return [clean(r) for r in results]

    whole = runner.run(_settings(tmp_path), tmp_path / "whole", jobs=0, find=_find)
    calls: list[str] = []

    def counting(name: str) -> Port:
        calls.append(name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return _find(name)

    with pytest.raises(KeyboardInterrupt):
        runner.run(_settings(tmp_path), tmp_path / "broken", jobs=0, find=counting)
    # The kill also cut a line short.
    with (tmp_path / "broken" / runner.RESULTS).open("a") as stream:
        stream.write('{"key": "picture|double')
    told: list[tuple[int, int]] = []
    resumed = runner.run(
        _settings(tmp_path),
        tmp_path / "broken",
        jobs=0,
        find=_find,
        tell=lambda done, total, _: told.append((done, total)),
    )
    assert told[0] == (1, 3)
    assert told[-1] == (3, 3)
    assert without_time(resumed) == without_time(whole)
    again = runner.read_results(tmp_path / "broken" / runner.RESULTS, _settings(tmp_path).digest())
    assert len(again) == 3


def test_results_of_another_seed_are_refused_and_more_of_the_same_is_added(few: None, tmp_path: Path) -> None:
    runner.run(_settings(tmp_path, count=1, null=2), tmp_path, jobs=0, find=_find)
    with pytest.raises(FiligranaError, match="another seed") as caught:
        runner.run(_settings(tmp_path, seed=2), tmp_path, jobs=0, find=_find)
    assert "-o" in caught.value.hint
    longer = runner.run(_settings(tmp_path, null=6), tmp_path, jobs=0, find=_find)
    assert [len(r["scores"]) for r in longer if r["kind"] == "null"] == [6]
    assert sum(r["kind"] == "picture" for r in longer) == 2


def test_results_of_another_version_of_the_code_are_refused(
    few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filigrana.pipeline.bench import plan

    runner.run(_settings(tmp_path, count=1), tmp_path, jobs=0, find=_find)
    monkeypatch.setattr(plan, "code_digest", lambda: "another")
    with pytest.raises(FiligranaError, match="another version"):
        runner.run(_settings(tmp_path, count=1), tmp_path, jobs=0, find=_find)


def test_worker_processes_give_what_this_process_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filigrana.pipeline.bench import plan

    todo = [plan.Unit("speed", f"no codec {i}", "512", i) for i in range(3)]
    monkeypatch.setattr(runner, "units", lambda _settings: todo)
    there = runner.run(_settings(tmp_path), tmp_path / "there", jobs=2)
    here = runner.run(_settings(tmp_path), tmp_path / "here", jobs=0)
    assert [r["error"] for r in there] == [r["error"] for r in here]
    assert [r["key"] for r in there] == [unit.key for unit in todo]


def test_workers_end_with_a_run_that_was_killed(tmp_path: Path) -> None:
    import signal
    import subprocess
    import sys
    import time

    import psutil  # type: ignore[import-untyped]

    program = tmp_path / "run.py"
    program.write_text(
        "import time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "from filigrana.pipeline.bench.runner import _end_with_parent\n"
        "if __name__ == '__main__':\n"
        "    with ProcessPoolExecutor(1, get_context('spawn'), _end_with_parent) as pool:\n"
        "        pool.submit(time.sleep, 120).result()\n"
    )
    run = subprocess.Popen([sys.executable, str(program)])
    deadline = time.monotonic() + 60
    workers: list[psutil.Process] = []
    while not workers and time.monotonic() < deadline:
        workers = [p for p in psutil.Process(run.pid).children() if "spawn_main" in " ".join(p.cmdline())]
        time.sleep(0.1)
    time.sleep(3)  # the worker imports this package before it can watch its parent
    assert workers
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert psutil.wait_procs(workers, timeout=30)[1] == []


def test_a_unit_that_could_not_be_measured_is_told_and_tried_again(few: None, tmp_path: Path) -> None:
    def refusing(_name: str) -> Port:
        raise FiligranaError("not today", code="bench.peer", hint="pip install it")

    chosen = _settings(tmp_path, sections=("picture",))
    failed = runner.run(chosen, tmp_path, jobs=0, find=refusing)
    report = build(chosen, failed)
    assert report["errors"] == [
        {"kind": "picture", "codec": "double.lowest-bits", "error": "not today", "hint": "pip install it", "count": 2}
    ]
    assert report["met"] is False
    assert all("error" not in r for r in runner.run(chosen, tmp_path, jobs=0, find=_find))


def test_false_ids_are_counted_and_fail_the_bar(few: None, tmp_path: Path) -> None:
    class Liar(LowestBits):
        def detect(self, frames: Iterable[Frame]) -> Detection:
            return Detection(AssetId(5), 20.0, 1e-9, None, 0.0, 1)

    chosen = _settings(tmp_path)
    report = build(chosen, runner.run(chosen, tmp_path, jobs=0, find=lambda _name: Port(Liar())))
    bars = {bar["name"]: bar for bar in report["bars"]}
    assert bars["wrong ids"]["value"] == 6
    assert not bars["wrong ids"]["met"]
    assert report["null"]["hits"] == 6
    assert not bars["of 6 unmarked decodes"]["met"]


def test_a_row_is_met_only_when_each_of_its_attacks_is() -> None:
    def result(name: str, flipped: bool) -> dict[str, Any]:
        cell = {"wrong": False, "score": 1.0, "cpu": 0.0}
        attacks = {"crop-5": {"exact": True, **cell}, "flip-h": {"exact": flipped, **cell}}
        return {"key": name, "kind": "picture", "codec": "c", "group": "512", "name": name, "attacks": attacks} | {
            "psnr": 43.0, "ssim": 0.99, "flip": None, "called": "c", "bits": 64, "claims": True
        }  # fmt: skip

    def row(misses: int) -> Any:
        results = [result(str(i), i >= misses) for i in range(100)]
        return summary.summarise(results, ["c"])["codecs"]["c"]["rows"]["place"]

    assert row(2)["met"] is True
    assert row(3)["rate"] == 0.985  # over the bar together, under it in the flips
    assert row(3)["met"] is False
    assert row(3)["weakest"] == "flip-h"


def test_the_page_holds_every_attack_and_asks_nobody_for_anything(few: None, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from filigrana.pipeline.bench.report import write

    chosen = _settings(tmp_path)
    write(chosen, runner.run(chosen, tmp_path, jobs=0, find=_find), tmp_path)
    html = (tmp_path / "report.html").read_text("utf-8")
    assert all(f"<td>{name}</td>" in html for name in chosen.attacks)
    assert html.count("<svg") >= 4
    assert html.count("data:image/png;base64,") == 2
    assert "<script" not in html
    assert 'src="http' not in html
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["schema"] == summary.SCHEMA


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    write_whole(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(target, "new \ud800")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_version_without_a_codec_for_sound_says_so_in_the_report(
    few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filigrana.pipeline.bench import sounding

    monkeypatch.setattr(sounding, "sound_codec", lambda: None)
    chosen = _settings(tmp_path, sections=("sound",))
    report = build(chosen, runner.run(chosen, tmp_path, jobs=0, find=_find))
    assert [error["error"] for error in report["errors"]] == ["this version has no watermark codec for sound"]
    assert report["met"] is False


def test_sounds_are_marked_attacked_and_judged(few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filigrana.pipeline.bench import sounding
    from filigrana.pipeline.bench.sounds import Sound

    samples = np.random.default_rng(4).normal(0, 0.1, (4 * 16_000, 1)).astype(np.float32)
    noise = Sound("noise", "effects", "made here", "CC0-1.0", "f" * 64, 16_000, samples)
    monkeypatch.setattr(sounding, "_sounds", lambda: (noise,))
    monkeypatch.setattr(sounding, "attacks", lambda: {"noise 20 dB": lambda x, rate, _rng: (x, rate)})
    chosen = _settings(tmp_path, sections=("sound",))
    report = build(chosen, runner.run(chosen, tmp_path, jobs=0, find=_find))
    assert report["sound"]["attacks"]["noise 20 dB"]["rate"] == 1.0
    assert [bar["met"] for bar in report["bars"]] == [True]


def test_removal_tells_what_it_cost_and_which_of_two_marks_is_read(
    few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filigrana.pipeline.bench import measure, removing

    monkeypatch.setattr(removing, "names", lambda _split, _size, _count: ["one", "two"])
    monkeypatch.setattr(removing, "picture", measure.picture)
    kept = {"nothing": lambda rgb, _know, _rng: rgb, "bilateral filter": removal.REMOVALS["bilateral filter"]}
    monkeypatch.setattr(removing, "removals", lambda: kept)
    chosen = _settings(tmp_path, sections=("removal",), targets=1, collected=1)
    told = build(chosen, runner.run(chosen, tmp_path, jobs=0, find=_find))["removal"]
    assert {name: entry["exact"] for name, entry in told.items()} == {
        "nothing": 1,
        "bilateral filter": 0,
        "a second mark over the first": 0,
    }
    assert told["a second mark over the first"]["second_id"] == 1
    assert all(entry["wrong"] == 0 for entry in told.values())
    assert told["nothing"]["psnr_mean"] > 60 > told["bilateral filter"]["psnr_mean"]


def test_clips_are_marked_encoded_and_judged_by_the_bar(
    few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filigrana.pipeline.bench import filming, measure, plan

    monkeypatch.setattr(filming, "names", lambda _split, _size, _count: ["one"])
    monkeypatch.setattr(filming, "picture", measure.picture)
    one = clips.VIDEO_ATTACKS[:1]
    monkeypatch.setattr(filming, "VIDEO_ATTACKS", one)
    monkeypatch.setattr(plan, "VIDEO_ATTACKS", one)
    chosen = _settings(tmp_path, sections=("video",), clips=1, clip_seconds=0.4, clip_size=(320, 192))
    report = build(chosen, runner.run(chosen, tmp_path, jobs=0, find=_find))
    told = report["video"]["attacks"]["h264-28, one frame"]
    # Lowest bits do not live through an encoder: the bar has to say so.
    assert (told["n"], told["exact"], told["met"], told["frames"]) == (10, 0, False, 1)
    assert report["video"]["psnr_mean"] > 60
    assert [bar["met"] for bar in report["bars"] if bar["section"] == "video"] == [False]


def test_the_plan_judges_the_first_codec_everywhere_and_the_others_beside_it(few: None, tmp_path: Path) -> None:
    chosen = _settings(tmp_path, codecs=("a", "b"), sizes=(512, 1024), beside=1, sections=("picture", "speed", "null"))
    count: dict[tuple[str, str], int] = {}
    for unit in units(chosen):
        count[unit.codec, unit.kind] = count.get((unit.codec, unit.kind), 0) + 1
    assert count == {("a", "picture"): 4, ("a", "speed"): 2, ("a", "null"): 1, ("b", "picture"): 1, ("b", "speed"): 1}
    assert len({unit.key for unit in units(chosen)}) == len(units(chosen))


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_importing_the_bench_loads_no_torch_no_plots_and_no_skimage() -> None:
    modules = "attacks clips measure metrics null peers pictures plan removal report runner screens summary page"
    code = "import sys\n" + "".join(f"import filigrana.pipeline.bench.{m}\n" for m in modules.split())
    code += "import filigrana.pipeline.cli.bench\n"
    code += "print([m for m in ('torch', 'matplotlib', 'skimage', 'sklearn', 'imwatermark') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _command() -> Any:
    import typer

    from filigrana.pipeline.cli.bench import bench

    app = typer.Typer()
    app.command()(bench)
    return app


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "skimage" else real(name))
    done = CliRunner().invoke(_command(), ["--quick"])
    assert isinstance(done.exception, FiligranaError)
    assert "skimage" in done.exception.message
    assert done.exception.hint == "pip install 'filigrana[bench]'"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--codec", "nobody's"], "bench.codec"),
        (["--attacks", "fire"], "bench.attacks"),
        (["--split", "train"], "bench.split"),
        (["--sizes", "12"], "bench.sizes"),
        (["--only", "smell"], "bench.section"),
    ],
)
def test_what_the_command_does_not_know_is_refused_before_anything_runs(
    arguments: list[str], code: str, tmp_path: Path
) -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    done = CliRunner().invoke(_command(), [*arguments, "-o", str(tmp_path / "out")])
    assert isinstance(done.exception, FiligranaError)
    assert done.exception.code == code
    assert not (tmp_path / "out").exists()
