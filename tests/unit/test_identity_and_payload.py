"""AssetId and the watermark's payload: what is written is read, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filigrana.errors import InputError
from filigrana.provenance.identity import AssetId
from filigrana.provenance.watermark import payload

ids = st.integers(0, (1 << 60) - 1).map(AssetId)


@given(ids)
def test_text_form_round_trips_in_any_case_and_with_hyphens(asset_id: AssetId) -> None:
    text = str(asset_id)
    assert len(text) == 12
    assert AssetId.parse(text) == AssetId.parse(text.lower()) == asset_id
    assert AssetId.parse(f"{text[:4]}-{text[4:8]}-{text[8:]}") == asset_id


def test_look_alike_letters_are_forgiven() -> None:
    assert AssetId.parse("OIL000000000") == AssetId.parse("011000000000")


@pytest.mark.parametrize("text", ["", "123", "U" * 12, "1234567890123", "12345678901é", "1" * 13])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        AssetId.parse(text)


@pytest.mark.parametrize("value", [-1, 1 << 60])
def test_values_outside_60_bits_are_refused(value: int) -> None:
    with pytest.raises(InputError):
        AssetId(value)


@given(ids)
def test_clean_payload_decodes_with_the_highest_score(asset_id: AssetId) -> None:
    decoded = payload.decode(payload.encode(payload.pack(asset_id)))
    assert decoded.asset_id == asset_id
    assert decoded.score == pytest.approx(np.sqrt(payload.CODED_BITS))


@given(ids, st.integers(0, 2**32 - 1))
def test_payload_survives_noise_at_the_signal_s_own_level(asset_id: AssetId, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 1.0, payload.CODED_BITS)
    assert payload.decode(payload.encode(payload.pack(asset_id)) + noise).asset_id == asset_id


def test_noise_alone_never_decodes_and_stays_under_the_floor() -> None:
    from filigrana.provenance.watermark.imwatermark import FLOOR

    rng = np.random.default_rng(1)
    scores = []
    for _ in range(300):
        decoded = payload.decode(rng.normal(0, 1, payload.CODED_BITS))
        assert decoded.asset_id is None
        scores.append(decoded.score)
    assert max(scores) < FLOOR


@pytest.mark.parametrize("soft", [np.zeros(416), np.full(416, np.nan), np.full(416, np.inf)])
def test_degenerate_soft_values_are_no_mark(soft: np.ndarray) -> None:
    assert payload.decode(soft).asset_id is None


def test_an_unknown_version_is_no_mark() -> None:
    word = 2 << 60 | 5
    import zlib

    bits = np.array([word >> s & 1 for s in range(63, -1, -1)], np.uint8)
    crc = zlib.crc32(word.to_bytes(8, "big"))
    info = np.concatenate([bits, np.array([crc >> s & 1 for s in range(31, -1, -1)], np.uint8)])
    decoded = payload.decode(payload.encode(info))
    assert decoded.version == 2
    assert decoded.asset_id is None


def test_soft_decisions_beat_hard_ones() -> None:
    """At a noise where hard decisions mostly fail, soft ones mostly do not: that is why soft values are kept."""
    rng, asset_id = np.random.default_rng(7), AssetId(123456789)
    clean = payload.encode(payload.pack(asset_id))
    soft = hard = 0
    for _ in range(60):
        received = clean + rng.normal(0, 1.35, payload.CODED_BITS)
        soft += payload.decode(received).asset_id == asset_id
        hard += payload.decode(np.sign(received)).asset_id == asset_id
    assert soft > hard
