"""One picture of a clip, compared with the clip's few stored moments: what moves is no edit, and what is painted is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path as File

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import Release, SealRequest
from filigrana.provenance.comparing import Comparison
from filigrana.provenance.media.values import Frame
from filigrana.provenance.moving import moving
from filigrana.provenance.preview import MAX_FRAMES, Preview, PreviewMaker, compare, cover
from filigrana.tests.doubles import preview_of, scene

WIDTH, HEIGHT, COUNT = 512, 384, 48
Path = Callable[[float], tuple[float, float]]
PATHS: dict[str, Path] = {
    "straight": lambda t: (60 + 380 * t, 200 + 60 * t),
    "bouncing": lambda t: (60 + 380 * t, 320 - 200 * abs(np.sin(2.5 * np.pi * t))),
    "circling": lambda t: (256 + 140 * np.cos(5 * t), 190 + 120 * np.sin(5 * t)),
    "coming in late": lambda t: (-60 + max(0.0, t - 0.4) * 500, 220),
}


def clip(path: Path, radius: int = 30) -> list[np.ndarray]:
    """Two seconds of a disc on its path over a still scene."""
    ground = scene(8, WIDTH, HEIGHT)
    out = []
    for i in range(COUNT):
        picture = ground.copy()
        x, y = path(i / COUNT)
        cv2.circle(picture, (round(16 * x), round(16 * y)), 16 * radius, (230, 40, 60), -1, cv2.LINE_AA, 4)
        out.append(picture)
    return out


def against(stored: Preview, picture: np.ndarray) -> Comparison:
    return compare(stored, [Frame(picture, Fraction(0))], None, (HEIGHT, WIDTH), 2.0)


def as_jpeg(picture: np.ndarray, quality: int = 60) -> np.ndarray:
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert done
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1])


@pytest.mark.parametrize("path", PATHS)
def test_every_picture_of_a_clip_is_a_copy_of_it(path: str) -> None:
    pictures = clip(PATHS[path])
    stored = preview_of(*pictures)
    found = [against(stored, as_jpeg(picture)) for picture in pictures]
    assert [result.match for result in found] == ["same"] * COUNT
    assert all(result.coverage > 0.99 for result in found)
    assert any(result.moving for result in found), "between the stored moments the disc is elsewhere"
    assert max(result.moving for result in found) < 0.15


def test_a_picture_of_a_stored_moment_shows_no_motion() -> None:
    pictures = clip(PATHS["straight"])
    found = against(preview_of(*pictures), as_jpeg(pictures[0]))
    assert (found.match, found.moving) == ("same", 0.0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("at", [5, 18, 31])
def test_what_is_painted_where_nothing_moves_is_an_edit(path: str, at: int) -> None:
    pictures = clip(PATHS[path])
    painted = pictures[at].copy()
    painted[8:60, 430:500] = (20, 200, 40)
    found = against(preview_of(*pictures), as_jpeg(painted))
    assert found.match == "edited"
    assert any(r.left <= 465 / WIDTH <= r.right and r.top <= 34 / HEIGHT <= r.bottom for r in found.regions)


def test_a_thing_that_was_never_in_the_clip_is_not_taken_for_motion() -> None:
    """It lies over the path and far beyond it."""
    pictures = clip(PATHS["straight"])
    painted = pictures[18].copy()
    painted[20:380, 180:240] = (20, 20, 20)
    assert against(preview_of(*pictures), painted).match == "edited"


def test_a_picture_of_another_clip_is_different() -> None:
    other = scene(41, WIDTH, HEIGHT)
    assert against(preview_of(*clip(PATHS["straight"])), other).match == "different"


def pan() -> list[np.ndarray]:
    wide = scene(6, WIDTH + 10 * COUNT, HEIGHT)
    return [np.ascontiguousarray(wide[:, 10 * i : 10 * i + WIDTH]) for i in range(COUNT)]


def test_where_everything_moves_nobody_is_accused() -> None:
    pictures = pan()
    stored = preview_of(*pictures)
    assert against(stored, pictures[0]).match == "same", "a stored moment can be compared"
    for picture in pictures[1:]:
        assert against(stored, picture).match in ("same", "different"), "never an edit: it could be the pan"


def test_where_everything_moves_nobody_is_cleared_either() -> None:
    pictures = pan()
    for at in (0, 5, 20):
        painted = pictures[at].copy()
        painted[100:200, 200:320] = (255, 0, 255)
        assert against(preview_of(*pictures), painted).match != "same"


@given(
    st.tuples(st.integers(20, 236), st.integers(20, 130)),
    st.tuples(st.integers(20, 236), st.integers(20, 130)),
    st.integers(6, 16),
    st.floats(0, 1),
)
def test_a_thing_on_its_way_lies_in_the_moving_area(
    start: tuple[int, int], end: tuple[int, int], radius: int, t: float
) -> None:
    def at(x: float, y: float) -> np.ndarray:
        picture = np.full((150, 256, 3), 120, np.uint8)
        cv2.circle(picture, (round(x), round(y)), radius, (240, 30, 30), -1)
        return picture

    between = at(start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1]))
    first, last = at(*start), at(*end)
    differs = ((between != first) & (between != last)).any(axis=2)
    area = moving([first, last], 0)
    assert not (differs & ~area).any()
    assert np.array_equal(moving([first, first], 0), np.zeros((150, 256), bool)), "what stands still does not move"


# ── what is stored ───────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("count", [1, 2, 24, 25, 48, 49, 100, 241])
def test_moments_are_spread_evenly_and_the_last_is_among_them(count: int) -> None:
    maker = PreviewMaker()
    for i in range(count):
        maker.look(np.full((64, 64, 3), i, np.uint8))
    made = maker.preview()
    assert made is not None
    kept = [round(float(picture.mean())) for picture in made.pictures()]
    assert len(kept) <= MAX_FRAMES + 1
    assert len(kept) >= min(count, MAX_FRAMES // 2)
    assert kept[0] == 0
    assert abs(kept[-1] - (count - 1)) <= 1
    assert len({b - a for a, b in itertools.pairwise(kept[:-1])}) <= 1


def test_one_picture_stands_for_a_clip() -> None:
    pictures = clip(PATHS["straight"])
    stored = preview_of(*pictures)
    first = Preview(cover(stored.data, stored.height), stored.width, stored.height)
    assert len(first.pictures()) == 1
    assert np.abs(first.pictures()[0].astype(int) - stored.pictures()[0].astype(int)).mean() < 2
    assert cover(first.data, first.height) == first.data


# ── through the whole chain ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("path", ["bouncing", "circling"])
def test_a_picture_taken_from_a_released_clip_is_recovered_and_a_painted_one_is_altered(
    make_engine: Callable[..., Engine], installation: Installation, tmp_path: File, path: str
) -> None:
    source = tmp_path / "clip.mp4"
    with av.open(str(source), "w") as out:
        video = out.add_stream("libx264", rate=24, options={"crf": "18"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in clip(PATHS[path]):
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(video.encode(None))
    released = make_engine().seal(SealRequest(source, source_type="camera"))
    assert isinstance(released, Release), released
    with av.open(str(released.file)) as opened:
        shown = [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]
    verifier = installation.verifier()
    for at in (1, 17, 30, 45):
        taken = tmp_path / f"{at}.jpg"
        Image.fromarray(shown[at]).save(taken, quality=85)
        found = verifier.verify(taken)
        assert (found.finding, found.match, found.asset_id) == ("recovered", "same", released.asset_id), (at, found)
        assert any("one picture of a clip" in line for line in found.telling().not_conclude)
        painted = shown[at].copy()
        painted[8:60, 430:500] = (20, 200, 40)
        Image.fromarray(painted).save(taken, quality=85)
        assert verifier.verify(taken).finding == "altered", at
