"""The DFT codec: one id that survives what happens to pictures and clips, and nothing found where nothing is."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np
import pytest

from filigrana.errors import WatermarkError
from filigrana.pipeline.bench.attacks import by_name
from filigrana.provenance.identity import AssetId
from filigrana.provenance.media import Frame
from filigrana.provenance.watermark import payload
from filigrana.provenance.watermark.base import Detection
from filigrana.provenance.watermark.dft import FLOOR, MIN_SIDE, Dft, p_value
from filigrana.provenance.watermark.lattice import PILOTS, lattice
from filigrana.provenance.watermark.variation import CYCLE, EPOCH, VARIANTS, first_variant, variant_at
from filigrana.tests.doubles import look, noise, put, scene

ID = AssetId(0x123456789ABCDEF)
CODEC = Dft()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)))


@pytest.fixture(scope="module")
def original() -> np.ndarray:
    return scene(3, 640, 512)


@pytest.fixture(scope="module")
def marked(original: np.ndarray) -> np.ndarray:
    return put(CODEC, original, ID)


# ── what it costs the eye ────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("seed", range(4))
def test_the_mark_is_hard_to_see(seed: int) -> None:
    picture = scene(seed)
    assert psnr(picture, put(CODEC, picture, ID)) >= 39.5


def test_grey_pictures_stay_nearly_grey() -> None:
    grey = np.repeat(scene(1)[..., :1], 3, axis=2)
    out = put(CODEC, grey, ID).astype(int)
    assert np.abs(out[..., 0] - out[..., 1]).max() <= 8
    assert look(CODEC, out.astype(np.uint8)).asset_id == ID


# ── what it survives ─────────────────────────────────────────────────────────────────────────────────────────────
SURVIVES = [
    "none",
    "jpeg-30",
    "webp-50",
    "avif-60",
    "png-8",
    "gamma-30",
    "saturation+30",
    "noise-15",
    "blur-2",
    "median-5",
    "greyscale",
    "resize-200",
    "resize-25",
    "crop-25",
    "crop-50",
    "pad",
    "flip-h",
    "flip-v",
    "rotate-90",
    "rotate-180",
    "rotate-270",
    "rotate-5-filled",
    "rotate-15-inner",
    "aspect+10",
    "perspective-3",
    "screenshot",
    "page",
    "phone",
    "social",
    "collage",
    "caption",
    "sticker",
]


@pytest.mark.parametrize("name", SURVIVES)
def test_the_id_survives(name: str, marked: np.ndarray) -> None:
    attack = by_name(name)
    assert look(CODEC, attack.run(marked, attack.rng(7, "scene"))).asset_id == ID


@pytest.mark.parametrize("size", [(256, 256), (300, 1500), (1500, 300), (257, 333), (1100, 1300)])
def test_any_size_and_shape(size: tuple[int, int]) -> None:
    picture = put(CODEC, scene(1, *size), ID)
    assert picture.shape == (size[1], size[0], 3)
    assert look(CODEC, picture).asset_id == ID


def test_a_picture_of_8k_is_marked_and_found_in_its_thumbnail() -> None:
    large = cv2.resize(scene(2, 960, 540), (7680, 4320), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(put(CODEC, large, ID), (960, 540), interpolation=cv2.INTER_AREA)
    assert look(CODEC, small).asset_id == ID


# ── the geometry that it finds ───────────────────────────────────────────────────────────────────────────────────
def test_geometry_of_an_untouched_copy(marked: np.ndarray) -> None:
    geometry = look(CODEC, marked).geometry
    assert geometry is not None
    assert (geometry.scale, geometry.rotation_degrees, geometry.flipped) == (1.0, 0.0, False)
    assert geometry.shift in ((0.0, 0.0), (128.0, 128.0), (0.0, 128.0), (128.0, 0.0))


@pytest.mark.parametrize("angle", [-12.0, 4.0, 90.0, 170.0])
@pytest.mark.parametrize("scale", [0.8, 1.6])
@pytest.mark.parametrize("mirrored", [False, True])
def test_geometry_of_a_turned_scaled_mirrored_copy(
    marked: np.ndarray, angle: float, scale: float, mirrored: bool
) -> None:
    height, width = marked.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
    turn[:, 2] += np.array([400 - width / 2, 400 - height / 2])
    copy = cv2.warpAffine(marked[:, ::-1] if mirrored else marked, turn, (800, 800), flags=cv2.INTER_CUBIC)
    found = look(CODEC, copy)
    assert found.asset_id == ID
    geometry = found.geometry
    assert geometry is not None
    assert geometry.flipped == mirrored
    assert geometry.scale == pytest.approx(scale, rel=0.01)
    assert (geometry.rotation_degrees - angle + 180) % 360 - 180 == pytest.approx(0, abs=0.6)
    # The matrix takes the canonical picture, here the marked one itself, onto the copy, up to whole tiles.
    true = np.vstack([turn, [0, 0, 1]])
    if mirrored:
        true = true @ np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1.0]])
    tiles = (np.linalg.inv(np.array(geometry.matrix).reshape(3, 3)) @ true @ np.array([320, 256, 1.0]))[:2]
    assert np.abs((tiles - [320, 256] + 64) % 128 - 64).max() < 3


# ── nothing where nothing is ─────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_found_in_unmarked_pictures(seed: int) -> None:
    found = look(CODEC, scene(seed, 400 + 31 * seed, 300))
    assert (found.asset_id, found.geometry) == (None, None)
    assert 0.001 < found.p_value <= 1


@pytest.mark.parametrize("flat", [0, 128, 255])
def test_nothing_is_found_in_flat_pictures_or_noise(flat: int) -> None:
    assert look(CODEC, np.full((300, 400, 3), flat, np.uint8)).asset_id is None
    assert look(CODEC, noise(flat, (300, 400, 3))).asset_id is None


def test_a_secret_key_reads_only_its_own_marks(original: np.ndarray, marked: np.ndarray) -> None:
    secret = Dft(b"an organisation's own")
    own = put(secret, original, ID)
    assert look(secret, own).asset_id == ID
    assert look(secret, marked).asset_id is None
    assert look(CODEC, own).asset_id is None


def test_no_frame_and_tiny_frames_hold_nothing() -> None:
    assert look(CODEC).asset_id is None
    assert look(CODEC, np.zeros((16, 16, 3), np.uint8)).asset_id is None


@pytest.mark.parametrize(
    ("picture", "code"),
    [
        (np.zeros((MIN_SIDE - 1, 400, 3), np.uint8), "provenance.watermark.too_small"),
        (np.zeros((256, 256 * 17, 3), np.uint8), "provenance.watermark.too_long"),
        (np.zeros((300, 300), np.uint8), None),
        (np.zeros((300, 300, 3), np.float32), None),
    ],
)
def test_frames_that_cannot_be_marked_are_a_clear_error(picture: np.ndarray, code: str | None) -> None:
    with pytest.raises(WatermarkError) as error:
        put(CODEC, picture, ID)
    assert code is None or error.value.code == code


# ── chances ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_p_values_fall_with_the_score_and_rise_with_the_tries() -> None:
    scores = np.linspace(9, 20, 50)
    for passed in (False, True):
        values = [p_value(s, 4, passed) for s in scores]
        # Above noise a list of words is asked: there the chance steps up once.
        assert sum(b > a for a, b in itertools.pairwise(values)) <= passed
        assert all(0 <= v <= 1 for v in values)
        assert p_value(11.0, 40, passed) > p_value(11.0, 4, passed)
    assert p_value(FLOOR, 20, True) < 1e-8


def test_p_values_of_noise_are_about_uniform() -> None:
    rng = np.random.default_rng(5)
    values = np.sort([p_value(payload.decode(rng.normal(size=416)).score, 1, False) for _ in range(300)])
    # Kolmogorov and Smirnov's distance; 0.094 is the 1 % point of 300 values, the fit itself may cost as much again.
    assert np.abs(values - (np.arange(300) + 0.5) / 300).max() < 0.19


# ── the format ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_published_layout_never_changes() -> None:
    """Marks that are out there are read by this layout: a change needs a new name of the codec, not a new digest."""
    made = lattice()
    total = hashlib.sha256()
    for array in (made.k, made.l, made.pilot_k, made.pilot_l):
        total.update(array.astype("<i4").tobytes())
    for variant in made.variants:
        total.update(variant.index.astype("<i4").tobytes())
        total.update(variant.sign.astype("<i4").tobytes())
        total.update(np.rint(np.angle(variant.phasors) * 1e4).astype("<i4").tobytes())
    assert len(made.pilot_k) == PILOTS
    assert total.hexdigest()[:16] == "a224adc559b5df5f"


def test_every_run_of_data_values_holds_every_coded_bit() -> None:
    for variant in lattice().variants:
        for start in range(0, len(variant.index) - 416, 416):
            assert sorted(variant.index[start : start + 416]) == list(range(416))


# ── clips ────────────────────────────────────────────────────────────────────────────────────────────────────────
def film(seconds: float, rate: int = 20, seed: int = 4) -> Iterator[Frame]:
    """A slow pan over a scene, with grain."""
    wide = scene(seed, 560, 320)
    rng = np.random.default_rng(seed)
    for number in range(round(seconds * rate)):
        left = number % 80
        grain = rng.normal(0, 1.5, (320, 480, 1))
        yield Frame(np.clip(wide[:, left : left + 480] + grain, 0, 255).astype(np.uint8), Fraction(number, rate))


@pytest.fixture(scope="module")
def clip() -> list[Frame]:
    return list(CODEC.embed(film(5), ID))


def test_a_clip_keeps_its_frames_and_times(clip: list[Frame]) -> None:
    assert [f.time for f in clip] == [f.time for f in film(5)]
    assert min(psnr(a.rgb, b.rgb) for a, b in zip(clip[::25], list(film(5))[::25], strict=True)) >= 39


def test_marking_a_clip_reads_two_frames_ahead_at_most() -> None:
    asked = 0

    def counting() -> Iterator[Frame]:
        nonlocal asked
        for frame in film(3):
            asked += 1
            yield frame

    for given, _ in enumerate(CODEC.embed(counting(), ID), 1):
        assert asked <= given + 2


def test_the_pattern_changes_with_the_epoch(clip: list[Frame]) -> None:
    plain = list(film(5))

    def pattern(number: int) -> np.ndarray:
        return np.asarray((clip[number].rgb.astype(np.float32) - plain[number].rgb).mean(axis=2).ravel())

    def alike(a: int, b: int) -> float:
        return float(np.corrcoef(pattern(a), pattern(b))[0, 1])

    # Within two seconds the frames carry one pattern, after that another.
    assert alike(2, 30) > 0.5
    assert abs(alike(30, 50)) < 0.2


@pytest.mark.parametrize("start", [0.0, 1.2, 2.5])
def test_a_trimmed_clip_says_which_moment_it_begins_with(clip: list[Frame], start: float) -> None:
    piece = [f for f in clip if f.time >= start]
    first = piece[0].time
    found = CODEC.detect(Frame(f.rgb, f.time - first) for f in piece)
    assert found.asset_id == ID
    assert found.timing is not None
    assert abs(found.timing.offset - float(first)) <= found.timing.tolerance + 0.05


def test_lost_shuffled_and_unevenly_timed_frames(clip: list[Frame]) -> None:
    rng = np.random.default_rng(0)
    lost = [f for f in clip if rng.random() > 0.4]
    assert CODEC.detect(lost).asset_id == ID
    order = rng.permutation(20)
    assert CODEC.detect(Frame(clip[i].rgb, Fraction(n, 20)) for n, i in enumerate(order)).asset_id == ID
    uneven = [Frame(f.rgb, f.time * f.time / 5) for f in clip]
    assert CODEC.detect(uneven).asset_id == ID


def test_detection_reads_no_more_of_a_clip_than_it_needs(clip: list[Frame]) -> None:
    read = 0

    def counting() -> Iterator[Frame]:
        nonlocal read
        for number in range(4000):
            read += 1
            yield Frame(clip[number % 100].rgb, Fraction(number, 20))

    found: Detection = CODEC.detect(counting())
    assert found.asset_id == ID
    assert read <= 60


def test_an_endless_unmarked_clip_ends_the_search() -> None:
    still, read = scene(8, 320, 256), 0

    def endless() -> Iterator[Frame]:
        nonlocal read
        while True:
            read += 1
            yield Frame(still, Fraction(read, 5))

    assert CODEC.detect(endless()).asset_id is None
    assert read < 2000


def test_a_clip_that_begins_in_black(clip: list[Frame]) -> None:
    black = [Frame(np.zeros_like(clip[0].rgb), Fraction(n, 20)) for n in range(40)]
    after = [Frame(f.rgb, f.time + 2) for f in clip[:40]]
    assert CODEC.detect([*black, *after]).asset_id == ID


# ── the variation ────────────────────────────────────────────────────────────────────────────────────────────────
def test_variants_follow_each_other_every_two_seconds_and_repeat() -> None:
    first = first_variant(ID)
    assert 0 <= first < VARIANTS
    assert variant_at(0, first) == variant_at(1.99, first) == first
    assert variant_at(EPOCH, first) == (first + 1) % VARIANTS
    assert variant_at(CYCLE, first) == first
    assert len({first_variant(AssetId(n)) for n in range(200)}) == VARIANTS
