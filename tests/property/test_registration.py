"""Registration for any geometry: true ones are found again, and ones that make no sense raise nothing."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from filigrana.provenance.comparing import Comparison, compare_picture
from filigrana.provenance.registration import place
from filigrana.tests.doubles import preview_of, scene

SIZES = ((512, 512), (512, 768), (640, 512))
numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-3, 3),
    st.sampled_from([0.0, 1e-12, 1e12, -1.0, float("nan"), float("inf")]),
)


PICTURES = {size: scene(21, size[1], size[0]) for size in SIZES}
PREVIEWS = {size: preview_of(picture).pictures()[0] for size, picture in PICTURES.items()}


@given(
    size=st.sampled_from(SIZES),
    scale=st.floats(0.4, 1.6),
    degrees=st.floats(-180, 180),
    mirrored=st.booleans(),
    where=st.tuples(st.floats(0.25, 0.75), st.floats(0.25, 0.75)),
    tiles=st.tuples(st.integers(-9, 9), st.integers(-9, 9)),
)
@settings(max_examples=40)
def test_a_similarity_is_recovered_whatever_its_whole_tiles(
    size: tuple[int, int],
    scale: float,
    degrees: float,
    mirrored: bool,
    where: tuple[float, float],
    tiles: tuple[int, int],
) -> None:
    """A copy of 480 x 400 px around any middle point, at any scale and angle: the codec says how it lies, but not which
    tile is which. Every corner of the copy comes back to within 2 px of the preview."""
    height, width = size
    angle = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    truth = np.eye(3)
    truth[:2, :2] = linear
    truth[:2, 2] = np.array([240, 200]) - linear @ (np.array(where) * [width, height])
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    drawn = np.linalg.inv(half) @ truth @ half
    copy = cv2.warpPerspective(PICTURES[size], drawn, (480, 400), flags=cv2.INTER_LINEAR, borderValue=(90, 90, 90))
    unknown = np.array([[1, 0, 128.0 * tiles[0]], [0, 1, 128.0 * tiles[1]], [0, 0, 1]])
    found = place(PREVIEWS[size], copy, (truth @ unknown).ravel().tolist(), size)
    assert found is not None
    to_preview = np.diag([PREVIEWS[size].shape[1] / width, PREVIEWS[size].shape[0] / height, 1.0])
    corners = np.array([[0, 0, 1], [480, 0, 1], [480, 400, 1], [0, 400, 1]], np.float64).T
    expected = to_preview @ np.linalg.inv(truth) @ corners
    seen = np.linalg.inv(found.to_copy) @ corners
    assert np.abs(expected[:2] / expected[2] - seen[:2] / seen[2]).max() < 2.0


@given(matrix=st.lists(numbers, min_size=9, max_size=9), size=st.sampled_from(SIZES))
def test_no_matrix_makes_it_raise(matrix: list[float], size: tuple[int, int]) -> None:
    """What is found instead is at most that the copy is the whole picture: so nothing is made up of a bad matrix."""
    other = scene(5, 300, 200)
    placed = place(PREVIEWS[size], other, matrix, size)
    assert placed is None or (0.0 <= placed.coverage <= 1.0 and 0.0 <= placed.surroundings <= 1.0)
    answer = compare_picture(PREVIEWS[size], other, matrix, size)
    assert isinstance(answer, Comparison)
    assert answer.match != "same"


@given(
    width=st.integers(1, 60), height=st.integers(1, 60), claimed=st.tuples(st.integers(0, 10**9), st.integers(0, 10**9))
)
@settings(max_examples=25)
def test_no_size_makes_it_raise(width: int, height: int, claimed: tuple[int, int]) -> None:
    copy = scene(1)[:height, :width]
    matrix = [0.1, 0, 0, 0, 0.1, 0, 0, 0, 1]
    placed = place(PREVIEWS[512, 512], copy, matrix, claimed)
    assert placed is None or placed.coverage <= 1.0
