"""The dwtDctSvd codec: interoperable with the package it comes from, without that package's losses."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from filigrana.errors import WatermarkError
from filigrana.provenance.identity import AssetId
from filigrana.provenance.watermark.imwatermark import MIN_SIDE, DwtDctSvd, reference_module
from filigrana.tests.doubles import look, noise, put, scene

ID = AssetId(0x123456789ABCDEF)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)))


@pytest.fixture(scope="module")
def marked() -> tuple[np.ndarray, np.ndarray]:
    original = scene(3)
    return original, put(DwtDctSvd(), original, ID)


def recoded(picture: np.ndarray, kind: str, **options: int) -> np.ndarray:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, kind, **options)
    with Image.open(out) as opened:
        return np.asarray(opened.convert("RGB"))


def test_mark_reads_back_and_is_hard_to_see(marked: tuple[np.ndarray, np.ndarray]) -> None:
    original, picture = marked
    detection = look(DwtDctSvd(), picture)
    assert detection.asset_id == ID
    assert detection.p_value < 1e-8
    assert detection.geometry is None, "the method cannot tell"
    assert psnr(original, picture) > 40


def test_the_package_s_own_decoder_reads_our_bits(marked: tuple[np.ndarray, np.ndarray]) -> None:
    codec, bgr = DwtDctSvd(), np.ascontiguousarray(marked[1][..., ::-1])
    reference = reference_module().EmbedDwtDctSvd(wmLen=416)
    assert np.mean(reference.decode(bgr).astype(np.uint8) == codec.bits(ID)) > 0.99


def test_we_read_what_the_package_embeds_and_undo_its_loss(marked: tuple[np.ndarray, np.ndarray]) -> None:
    original, ours = marked
    codec = DwtDctSvd()
    reference = reference_module().EmbedDwtDctSvd(watermarks=list(codec.bits(ID)), wmLen=416)
    theirs = reference.encode(np.ascontiguousarray(original[..., ::-1]).copy())[..., ::-1]
    assert look(codec, np.ascontiguousarray(theirs)).asset_id == ID
    # The package swaps two detail bands when it puts the picture together again.
    assert psnr(original, ours) > psnr(original, theirs) + 1.0


@pytest.mark.parametrize(("kind", "quality"), [("JPEG", 90), ("JPEG", 75), ("JPEG", 60), ("WEBP", 85)])
def test_mark_survives_recompression(marked: tuple[np.ndarray, np.ndarray], kind: str, quality: int) -> None:
    assert look(DwtDctSvd(), recoded(marked[1], kind, quality=quality)).asset_id == ID


def test_frames_add_up_where_one_is_not_enough(marked: tuple[np.ndarray, np.ndarray]) -> None:
    rng = np.random.default_rng(5)
    noisy = [np.clip(marked[1] + rng.normal(0, 20, marked[1].shape), 0, 255).astype(np.uint8) for _ in range(16)]
    codec = DwtDctSvd()
    assert look(codec, *noisy).score > look(codec, *noisy[:1]).score
    assert look(codec, *noisy).asset_id == ID


def test_unmarked_pictures_have_no_mark() -> None:
    codec = DwtDctSvd()
    for seed in range(12):
        assert look(codec, scene(seed)).asset_id is None
    assert look(codec, noise(1, (300, 300, 3))).asset_id is None
    assert look(codec, np.zeros((300, 300, 3), np.uint8)).asset_id is None


def test_another_key_reads_nothing(marked: tuple[np.ndarray, np.ndarray]) -> None:
    assert look(DwtDctSvd(b"an organisation's own"), marked[1]).asset_id is None
    secret = DwtDctSvd(b"an organisation's own")
    assert look(secret, put(secret, marked[0], ID)).asset_id == ID


@pytest.mark.parametrize("size", [(256, 256), (257, 301), (1080, 1920), (2000, 256)])
def test_any_size_from_256_px(size: tuple[int, int]) -> None:
    picture = put(DwtDctSvd(), scene(1, size[1], size[0]), ID)
    assert picture.shape == (*size, 3)
    if size[0] * size[1] >= 300 * 300:
        assert look(DwtDctSvd(), picture).asset_id == ID


def test_smaller_pictures_are_refused() -> None:
    with pytest.raises(WatermarkError) as caught:
        put(DwtDctSvd(), scene(1, MIN_SIDE - 1, 400), ID)
    assert caught.value.code == "provenance.watermark.too_small"
    assert look(DwtDctSvd(), scene(1, MIN_SIDE - 1, 400)).asset_id is None


@pytest.mark.parametrize("wrong", [np.zeros((300, 300), np.uint8), np.zeros((300, 300, 3), np.float32)])
def test_what_is_no_frame_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(WatermarkError):
        put(DwtDctSvd(), wrong, ID)


def test_no_frames_give_no_mark() -> None:
    detection = look(DwtDctSvd())
    assert detection.asset_id is None
    assert detection.p_value == 1.0


def test_saturated_colours_still_carry_the_mark() -> None:
    """Pure blue, white and black leave the U channel no room on one side."""
    picture = np.zeros((512, 512, 3), np.uint8)
    picture[:, :170] = (0, 0, 255)
    picture[:, 170:340] = (255, 255, 255)
    cv2.circle(picture, (256, 256), 120, (255, 230, 0), -1)
    marked_picture = put(DwtDctSvd(), picture, ID)
    assert look(DwtDctSvd(), recoded(marked_picture, "JPEG", quality=85)).asset_id == ID
