"""A sound whose mark goes wrong is never released; the same house without the fault releases it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filigrana.errors import FiligranaError
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import Release, SealRequest
from filigrana.provenance.identity import AssetId
from filigrana.provenance.media import SoundBlock
from filigrana.provenance.watermark.base import Detection
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.doubles import Failing, FakeSoundCodec
from filigrana.tests.unit.test_engine import write_samples


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    return write_samples(tmp_path_factory.mktemp("sound") / "noise.wav", rng.normal(0, 0.1, 4 * 16_000), 16_000)


def unmarked(blocks: Iterable[SoundBlock], _id: AssetId) -> Iterator[SoundBlock]:
    yield from blocks


def shorter(blocks: Iterable[SoundBlock], _id: AssetId) -> Iterator[SoundBlock]:
    yield from list(blocks)[:-1]


def no_number(blocks: Iterable[SoundBlock], _id: AssetId) -> Iterator[SoundBlock]:
    for block in blocks:
        yield replace(block, samples=block.samples * np.float32(np.nan))


def other(blocks: Iterable[SoundBlock], _id: AssetId) -> Iterator[SoundBlock]:
    yield from FakeSoundCodec().embed(blocks, AssetId(7))


def answers(score: float, asset_id: AssetId | None) -> Callable[[Any], Detection]:
    return lambda _blocks: Detection(asset_id, score, 0.0, None, 0.0)


FAULTS: dict[str, dict[str, Callable[..., Any]]] = {
    "embedding raises": {"embed": Failing("raise")},
    "embedding gives nothing": {"embed": lambda _blocks, _id: None},
    "embedding gives the sound unmarked": {"embed": unmarked},
    "embedding loses the end": {"embed": shorter},
    "embedding makes no numbers": {"embed": no_number},
    "embedding puts another id in": {"embed": other},
    "detection raises": {"detect": Failing("raise")},
    "detection answers nothing": {"detect": lambda _blocks: None},
    "detection finds no mark": {"detect": answers(2.0, None)},
    "detection finds another asset": {"detect": answers(20.0, AssetId(7))},
    "detection's score is no number": {"detect": answers(float("nan"), None)},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_release(installation: Installation, make_engine: MakeEngine, sound: Path, fault: str) -> None:
    codec = FakeSoundCodec(**FAULTS[fault])
    engine = make_engine(finisher=lambda: replace(installation.finisher(), sound_codec=codec))
    with pytest.raises(FiligranaError):
        engine.seal(SealRequest(path=sound, source_type="unknown"))
    assert "release" not in {entry["type"] for _, entry in installation.log.entries()}
    assert not list((installation.folder / "assets").rglob("*.wav"))
    assert isinstance(make_engine().seal(SealRequest(path=sound, source_type="unknown")), Release)
