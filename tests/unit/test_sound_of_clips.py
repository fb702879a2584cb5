"""Pictures and sound of one clip: a swapped, moved, muted or foreign sound track is named, with the real codecs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import Release, SealRequest
from filigrana.provenance.credentials import read_credentials
from filigrana.provenance.media import Frame, SoundBlock, encode_clip, open_media, read_sound
from filigrana.provenance.trust import TrustLists
from filigrana.provenance.verify import Finding
from filigrana.tests.doubles import scene

RATE = 16_000


def sound(seed: int, seconds: float = 5.0) -> list[SoundBlock]:
    rng = np.random.default_rng(seed)
    return [SoundBlock(rng.normal(0, 0.1, (round(seconds * RATE), 1)).astype(np.float32), RATE)]


def pictures(seed: int) -> Iterator[Frame]:
    wide = scene(seed, 384, 256)
    for number in range(60):
        yield Frame(np.ascontiguousarray(wide[:, number // 2 : number // 2 + 320]), Fraction(number, 12))


@pytest.fixture
def seal(make_engine: Callable[..., Engine], tmp_path: Path) -> Callable[[int], Release]:
    def sealed(seed: int) -> Release:
        source = tmp_path / f"source{seed}.mp4"
        encode_clip(pictures(seed), source, "video/mp4", rate=Fraction(12), sound=sound(seed))
        released = make_engine().seal(SealRequest(source, "unknown"))
        assert isinstance(released, Release)
        return released

    return sealed


def copy(released: Release, track: Iterable[SoundBlock] | None) -> Path:
    """The released pictures with another sound track, its credentials lost."""
    path = released.file.with_name("copy.mp4")
    frames = open_media(released.file).frames()
    encode_clip(frames, path, "video/mp4", rate=Fraction(12), sound=track)
    return path


def told(finding: Finding) -> str:
    return "; ".join(f"{e.technique} {e.status}: {e.detail}" for e in finding.evidence)


def test_a_sealed_clip_claims_both_marks_and_verifies(
    seal: Callable[[int], Release], installation: Installation
) -> None:
    released = seal(1)
    own = str(released.asset_id)
    claims = read_credentials(released.file, "video/mp4", TrustLists()).soft_bindings
    assert dict(claims) == {"org.filigrana.dft.1": own, "org.filigrana.sound.1": own}
    finding = installation.verifier().verify(released.file)
    assert finding.finding == "verified"
    assert "was not compared" not in told(finding), "the signature covers the sound"


def test_copies_and_what_is_said_of_their_sound(seal: Callable[[int], Release], installation: Installation) -> None:
    released, other = seal(1), seal(2)
    verifier = installation.verifier()
    own = list(read_sound(open_media(released.file)))
    silence = SoundBlock(np.zeros((RATE * 3 // 2, own[0].samples.shape[1]), np.float32), own[0].rate)

    kept = verifier.verify(copy(released, own))
    assert (kept.finding, kept.asset_id) == ("recovered", released.asset_id), told(kept)

    moved = verifier.verify(copy(released, [silence, *own]))
    assert moved.finding == "altered", told(moved)
    assert "av-sync fail" in told(moved)

    swapped = verifier.verify(copy(released, read_sound(open_media(other.file))))
    assert swapped.finding == "contradicted", told(swapped)
    assert "another asset" in told(swapped)

    foreign = verifier.verify(copy(released, sound(9)))
    assert foreign.finding == "altered", told(foreign)
    assert "not the original's" in told(foreign)

    muted = verifier.verify(copy(released, None))
    assert muted.finding == "recovered", told(muted)
    assert "muted" in told(muted)
