"""The sound codec on anything: streams keep their length however they are cut, detection never raises, marks read back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from filigrana.provenance.identity import BITS, AssetId
from filigrana.provenance.watermark.audio import LogSpectralQim
from filigrana.provenance.watermark.audio_rate import RateChange
from filigrana.provenance.watermark.base import SoundBlock
from filigrana.provenance.watermark.variation import CYCLE

IDS = st.integers(0, (1 << BITS) - 1).map(AssetId)
CUTS = st.lists(st.integers(1, 20_000), min_size=1, max_size=12)
SOME_RATES = [8_000, 11_025, 16_000, 16_001, 22_050, 37_800, 44_100, 48_000, 192_000]
CODEC = LogSpectralQim()


def hiss(seconds: float, rate: int, seed: int, channels: int = 1) -> np.ndarray:
    """Noise that comes and goes."""
    rng, n = np.random.default_rng(seed), int(seconds * rate)
    level = np.interp(
        np.arange(n), np.arange(0, n + rate, rate // 8), rng.uniform(0.02, 0.3, (n + rate - 1) // (rate // 8) + 1)
    )
    return (rng.standard_normal((n, channels)) * 0.3 * level[:, None]).astype(np.float32)


def cut_up(sound: np.ndarray, rate: int, cuts: list[int]) -> list[SoundBlock]:
    pieces = np.split(sound, np.cumsum(cuts)[np.cumsum(cuts) < len(sound)])
    return [SoundBlock(piece, rate) for piece in pieces]


@given(IDS, st.integers(0, 2**32 - 1), st.floats(0, 1.9))
@settings(max_examples=6, deadline=None)
def test_any_id_in_any_hiss_reads_back_with_its_time(asset_id: AssetId, seed: int, start: float) -> None:
    sound = hiss(5.0, 16_000, seed)
    copy = np.concatenate([b.samples for b in CODEC.embed([SoundBlock(sound, 16_000)], asset_id)])
    detection = CODEC.detect([SoundBlock(copy[int(start * 16_000) :], 16_000)])
    assert detection.asset_id == asset_id
    assert detection.timing is not None
    half = float(CYCLE) / 2
    assert abs((detection.timing.offset - start + half) % (2 * half) - half) <= detection.timing.tolerance


@given(CUTS, st.sampled_from([8_000, 11_025, 16_000, 37_800, 44_100]), st.integers(1, 3))
@settings(max_examples=5, deadline=None)
def test_marking_keeps_the_number_of_samples_and_does_not_care_for_blocks(
    cuts: list[int], rate: int, channels: int
) -> None:
    sound = hiss(1.5, rate, 1, channels)
    out = list(CODEC.embed(cut_up(sound, rate, cuts), AssetId(1)))
    whole = list(CODEC.embed([SoundBlock(sound, rate)], AssetId(1)))
    joined = np.concatenate([block.samples for block in out])
    assert joined.shape == sound.shape
    assert joined.dtype == np.float32
    assert {block.rate for block in out} == {rate}
    assert np.array_equal(joined, np.concatenate([block.samples for block in whole]))


@given(
    npst.arrays(
        np.float32,
        st.tuples(st.integers(0, 9_000), st.integers(1, 3)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
        fill=st.floats(width=32),
    ),
    st.integers(-1, 200_000),
)
@settings(max_examples=40, deadline=None)
def test_detection_takes_anything_and_finds_nothing(samples: np.ndarray, rate: int) -> None:
    detection = CODEC.detect([SoundBlock(samples, rate)])
    assert detection.asset_id is None
    assert detection.p_value == 1.0


@given(st.sampled_from(SOME_RATES), st.sampled_from(SOME_RATES), CUTS)
@settings(max_examples=7, deadline=None)
def test_a_stream_changes_its_rate_without_a_delay(source: int, target: int, cuts: list[int]) -> None:
    seconds = 0.4
    tone = np.sin(2 * np.pi * 440 * np.arange(int(seconds * source)) / source).astype(np.float32)[:, None]
    change = RateChange(source, target, 1)
    out = [change.push(block.samples) for block in cut_up(tone, source, cuts)]
    got = np.concatenate([*out, change.finish()])[:, 0]
    assert len(got) == -(-len(tone) * target // source)
    expected = np.sin(2 * np.pi * 440 * np.arange(len(got)) / target)
    inside = slice(target // 50, -target // 50)
    assert got[inside] == pytest.approx(expected[inside], abs=2e-3)
