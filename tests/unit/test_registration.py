"""A copy compared with the stored preview, after the real codec said how it lies: same, edited (where) or different."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from filigrana.provenance.comparing import Comparison, compare_picture
from filigrana.provenance.identity import AssetId
from filigrana.provenance.media.values import Frame
from filigrana.provenance.preview import compare
from filigrana.provenance.registration import place
from filigrana.provenance.watermark.dft import Dft
from filigrana.tests.doubles import look, preview_of, put, scene

ID = AssetId(4711)
FIXTURES = Path(__file__).parent / "embedded_fixtures"
Change = Callable[[np.ndarray], np.ndarray]


def fixture(name: str) -> np.ndarray:
    with Image.open(FIXTURES / f"{name}.png") as opened:
        return np.asarray(opened.convert("RGB").resize((512, 512), Image.Resampling.BICUBIC)).copy()


class Original:
    """A marked picture with its stored preview."""

    def __init__(self, picture: np.ndarray) -> None:
        self.rgb = put(Dft(), picture, ID)
        self.preview = preview_of(self.rgb)

    def against(self, copy: np.ndarray) -> Comparison:
        found = look(Dft(), copy)
        assert found.asset_id == ID, "the mark is gone: nothing to compare"
        assert found.geometry is not None
        height, width = self.rgb.shape[:2]
        return compare(self.preview, [Frame(copy)], found.geometry.matrix, (height, width))


@pytest.fixture(scope="module")
def photo() -> Original:
    return Original(scene(3, 768, 512))


@pytest.fixture(scope="module")
def art() -> Original:
    return Original(fixture("sailboat-sea"))


def jpeg(quality: int) -> Change:
    def run(rgb: np.ndarray) -> np.ndarray:
        out = io.BytesIO()
        Image.fromarray(rgb).save(out, "JPEG", quality=quality)
        return np.asarray(Image.open(out).convert("RGB")).copy()

    return run


def crop(rgb: np.ndarray) -> np.ndarray:
    height, width = rgb.shape[:2]
    return np.ascontiguousarray(rgb[height // 8 : height * 7 // 8, width // 6 : width * 11 // 12])


def turned(degrees: float) -> Change:
    def run(rgb: np.ndarray) -> np.ndarray:
        height, width = rgb.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
        return cv2.warpAffine(rgb, matrix, (width, height), flags=cv2.INTER_CUBIC, borderValue=(30, 90, 60))

    return run


def windowed(rgb: np.ndarray) -> np.ndarray:
    """In a window with a title bar and lines of text, at four fifths of its size."""
    small = cv2.resize(rgb, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    out = np.full((height + 120, width + 160, 3), 240, np.uint8)
    out[:30] = (60, 60, 80)
    for y in range(50, out.shape[0] - 10, 14):
        cv2.putText(out, "text of a page beside it", (4, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (20, 20, 20), 1)
    out[50 : 50 + height, 90 : 90 + width] = small
    return out


def tones(gain: float, offset: float) -> Change:
    return lambda rgb: np.clip(rgb.astype(np.float32) * gain + offset, 0, 255).astype(np.uint8)


def grey(rgb: np.ndarray) -> np.ndarray:
    return np.repeat(np.asarray(Image.fromarray(rgb).convert("L"))[..., None], 3, axis=2)


def perspective(rgb: np.ndarray) -> np.ndarray:
    height, width = rgb.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners + np.array([[8, 5], [-6, 9], [5, -8], [-4, -3]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, moved)
    return cv2.warpPerspective(rgb, matrix, (width, height), flags=cv2.INTER_CUBIC, borderValue=(128, 128, 128))


HARMLESS: dict[str, Change] = {
    "untouched": lambda rgb: rgb,
    "JPEG 30": jpeg(30),
    "half as large": lambda rgb: cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brighter": tones(1.3, 0),
    "less contrast": tones(0.7, 38),
    "greyscale": grey,
    "mirrored": lambda rgb: np.ascontiguousarray(rgb[:, ::-1]),
    "a quarter turn": lambda rgb: np.ascontiguousarray(np.rot90(rgb)),
    "turned by 5 degrees": turned(5),
    "cropped": crop,
    "cropped and JPEG 75": lambda rgb: jpeg(75)(crop(rgb)),
    "padded": lambda rgb: cv2.copyMakeBorder(rgb, 60, 90, 70, 100, cv2.BORDER_CONSTANT, value=(200, 40, 40)),
    "wider by a tenth": lambda rgb: cv2.resize(rgb, None, fx=1.1, fy=1.0, interpolation=cv2.INTER_CUBIC),
    "perspective": perspective,
    "a screenshot in a window": windowed,
}


@pytest.mark.parametrize("change", HARMLESS)
@pytest.mark.parametrize("kind", ["photo", "art"])
def test_what_does_not_change_the_content_is_the_same(kind: str, change: str, request: pytest.FixtureRequest) -> None:
    original: Original = request.getfixturevalue(kind)
    found = original.against(HARMLESS[change](original.rgb))
    assert (found.match, found.regions) == ("same", ())


def test_a_crop_says_how_much_it_shows(photo: Original) -> None:
    copy = crop(photo.rgb)
    found = photo.against(copy)
    share = copy.shape[0] * copy.shape[1] / (photo.rgb.shape[0] * photo.rgb.shape[1])
    assert found.coverage == pytest.approx(share, abs=0.03)
    assert found.surroundings < 0.02


def test_a_window_says_how_much_of_it_is_not_the_original(photo: Original) -> None:
    copy = windowed(photo.rgb)
    found = photo.against(copy)
    share = 0.64 * photo.rgb.shape[0] * photo.rgb.shape[1] / (copy.shape[0] * copy.shape[1])
    assert found.surroundings == pytest.approx(1 - share, abs=0.03)
    assert found.coverage > 0.97


def painted(rgb: np.ndarray, side: float = 0.1) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """A block in the middle, darker or lighter by 90, and where it is in fractions."""
    height, width = rgb.shape[:2]
    size = round(side * min(height, width))
    x, y = width // 2, height // 2
    out = rgb.copy()
    block = out[y : y + size, x : x + size].astype(int)
    out[y : y + size, x : x + size] = np.clip(block + (90 if block.mean() < 128 else -90), 0, 255)
    return out, (x / width, y / height, (x + size) / width, (y + size) / height)


@pytest.mark.parametrize("side", [0.07, 0.15])
@pytest.mark.parametrize("before", ["untouched", "mirrored", "cropped", "half as large", "a screenshot in a window"])
def test_a_painted_block_is_an_edit_where_it_is_on_the_copy(photo: Original, before: str, side: float) -> None:
    """Whatever was done before it: the region is given in fractions of the file that is looked at."""
    if before == "a screenshot in a window":
        # Seven per cent of the window are more of the picture: the block lies within it.
        copy, where = painted(windowed(photo.rgb), side)
    else:
        copy, where = painted(HARMLESS[before](photo.rgb), side)
    found = photo.against(copy)
    assert found.match == "edited"
    region = found.regions[0]
    middle = ((where[0] + where[2]) / 2, (where[1] + where[3]) / 2)
    assert region.left <= middle[0] <= region.right
    assert region.top <= middle[1] <= region.bottom
    assert (region.right - region.left) * (region.bottom - region.top) < 12 * side**2


def test_a_pasted_quarter_and_a_caption_are_edits(photo: Original) -> None:
    height, width = photo.rgb.shape[:2]
    collage = photo.rgb.copy()
    collage[: height // 2, : width // 2] = scene(40, width // 2, height // 2)
    caption = photo.rgb.copy()
    caption[height * 17 // 20 :] = 245
    assert photo.against(collage).match == "edited"
    found = photo.against(caption)
    assert found.match == "edited"
    assert found.regions[0].top == pytest.approx(0.85, abs=0.05)


def test_an_object_that_was_taken_out_is_an_edit(art: Original) -> None:
    mask = np.zeros(art.rgb.shape[:2], np.uint8)
    busy = cv2.blur(np.abs(cv2.Laplacian(art.rgb.mean(axis=2), cv2.CV_64F)), (81, 81))
    y, x = np.unravel_index(int(busy.argmax()), busy.shape)
    mask[max(0, y - 70) : y + 70, max(0, x - 70) : x + 70] = 255
    assert art.against(cv2.inpaint(art.rgb, mask, 5, cv2.INPAINT_TELEA)).match == "edited"


def test_another_hue_is_an_edit_and_less_colour_is_not(art: Original) -> None:
    """Red made blue is another picture of the same shape; a filter that takes colour out everywhere is not."""
    recoloured = art.rgb.copy()
    recoloured[150:360, 150:360] = recoloured[150:360, 150:360, ::-1]
    assert art.against(recoloured).match == "edited"
    paler = (0.7 * art.rgb + 0.3 * grey(art.rgb)).astype(np.uint8)
    assert art.against(paler).match == "same"


@pytest.mark.parametrize("change", ["untouched", "cropped", "half as large"])
@pytest.mark.parametrize("kind", ["photo", "art"])
def test_a_mark_on_another_picture_is_different(kind: str, change: str, request: pytest.FixtureRequest) -> None:
    original: Original = request.getfixturevalue(kind)
    other = scene(91, 768, 512) if kind == "photo" else fixture("dog-green")
    transplanted = HARMLESS[change](put(Dft(), other, ID))
    assert original.against(transplanted).match == "different"


def test_an_even_grey_with_the_mark_is_not_the_picture(photo: Original) -> None:
    """Tones are fitted, but not down to nothing: a wall does not show what a picture shows."""
    even = put(Dft(), np.full_like(photo.rgb, 128), ID)
    assert photo.against(even).match == "different"


def test_without_a_geometry_the_copy_is_taken_as_whole(photo: Original) -> None:
    copy = jpeg(60)(photo.rgb)
    assert compare(photo.preview, [Frame(copy)]).match == "same"
    assert compare(photo.preview, [Frame(scene(8, 768, 512))]).match == "different"
    assert compare(photo.preview, []).match == "different"


def test_the_outline_is_where_the_original_lies_in_the_copy(photo: Original) -> None:
    copy = windowed(photo.rgb)
    found = look(Dft(), copy)
    assert found.geometry is not None
    placed = place(photo.preview.pictures()[0], copy, found.geometry.matrix, photo.rgb.shape[:2])  # type: ignore[arg-type]
    assert placed is not None
    points = np.array(placed.outline) * [copy.shape[1], copy.shape[0]]
    height, width = round(photo.rgb.shape[0] * 0.8), round(photo.rgb.shape[1] * 0.8)
    assert np.allclose(points.min(axis=0), (90, 50), atol=5)
    assert np.allclose(points.max(axis=0), (90 + width, 50 + height), atol=5)


def test_a_full_hd_copy_costs_little(photo: Original) -> None:
    """Thirty milliseconds on the machine that it was written on; three times as much is allowed elsewhere."""
    copy = cv2.resize(photo.rgb, (1920, 1280), interpolation=cv2.INTER_CUBIC)[100:1180]
    found = look(Dft(), copy)
    assert found.geometry is not None
    picture = photo.preview.pictures()[0]
    spent = []
    for _ in range(5):
        started = time.thread_time()
        assert compare_picture(picture, copy, found.geometry.matrix, (512, 768)).match == "same"
        spent.append(time.thread_time() - started)
    assert min(spent) < 0.09


# ── clips ────────────────────────────────────────────────────────────────────────────────────────────────────────
def clip(seed: int, count: int = 100) -> list[np.ndarray]:
    """Four seconds of a slow pan."""
    wide = scene(seed, 512 + 4 * count, 384)
    return [np.ascontiguousarray(wide[:, 4 * i : 4 * i + 512]) for i in range(count)]


def frames(pictures: list[np.ndarray]) -> list[Frame]:
    return [Frame(picture, Fraction(i, 25)) for i, picture in enumerate(pictures)]


def test_a_clip_is_compared_frame_by_frame_under_its_geometry() -> None:
    pictures = clip(6)
    stored = preview_of(*pictures)
    # A tile of the canonical picture is 96 px of a picture of 384: cut off 72 px at the left and 48 px above.
    matrix = [0.75, 0, -72.0 + 96, 0, 0.75, -48.0 - 192, 0, 0, 1]
    cut = [np.ascontiguousarray(p[48:336, 72:456]) for p in pictures]
    found = compare(stored, frames(cut), matrix, (384, 512), 4.0)
    assert found.match == "same"
    assert found.coverage == pytest.approx(0.5625, abs=0.02)
    assert compare(stored, frames(clip(7)), None, (384, 512), 4.0).match == "different"
    for picture in cut[40:]:
        picture[100:150, 200:250] = (255, 0, 255)
    painted_over = compare(stored, frames(cut), matrix, (384, 512), 4.0)
    assert painted_over.match == "edited"
    assert painted_over.regions[0].left <= 225 / 384 <= painted_over.regions[0].right


def test_a_trimmed_clip_is_the_same_and_shows_less() -> None:
    pictures = clip(6)
    stored = preview_of(*pictures)
    found = compare(stored, frames(pictures[30:70]), None, (384, 512), 4.0)
    assert found.match == "same"
    assert found.coverage < 0.6


def test_another_ending_is_not_taken_for_a_slower_pan() -> None:
    """A pan shows nearly the same a moment later: a frame may not stand for the ones after it."""
    pictures = clip(6)
    stored = preview_of(*pictures)
    swapped = [picture if i < 50 else scene(40, 512, 384) for i, picture in enumerate(pictures)]
    assert compare(stored, frames(swapped), None, (384, 512), 4.0).match != "same"
    stopped = [pictures[min(i, 50)] for i in range(len(pictures))]
    assert compare(stored, frames(stopped), None, (384, 512), 4.0).match != "same"
    assert compare(stored, frames(pictures), None, (384, 512), 4.0).match == "same"
