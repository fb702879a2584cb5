"""What the checks take into account: released bytes of any size, the picture of the catalog that led here, weak marks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import Release, SealRequest
from filigrana.provenance import observing
from filigrana.provenance.credentials import Credentials
from filigrana.provenance.identity import AssetId
from filigrana.provenance.media import encode_picture
from filigrana.provenance.observed import Observed
from filigrana.provenance.records import AssetRecord, PreviewImage
from filigrana.provenance.watermark.base import Detection
from filigrana.tests.doubles import scene
from filigrana.tests.serving import engine

ID = AssetId(77)


@pytest.fixture
def released(installation: Installation, tmp_path: Path) -> Release:
    path = tmp_path / "in.jpg"
    path.write_bytes(encode_picture(scene(1), "image/jpeg"))
    outcome = engine(installation).seal(SealRequest(path, "camera"))
    assert isinstance(outcome, Release)
    return outcome


def test_a_large_file_is_known_as_the_released_bytes(
    installation: Installation, released: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files over the limit are not hashed in any case; one of the released file's size is."""
    monkeypatch.setattr(observing, "_HASHED", 10)
    finding = installation.verifier().verify(released.file)
    assert (finding.finding, finding.match) == ("verified", "same")
    assert any("released bytes" in e.detail for e in finding.evidence if e.technique == "preview")


def test_only_the_catalog_that_led_here_shows_the_original(
    installation: Installation, released: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another catalog's picture of an asset that it did not lead to decides nothing."""

    asked: list[AssetId] = []

    class Other:
        name = "another catalog"

        def __getattr__(self, _name: str) -> object:
            return lambda *_: None

        def preview(self, ident: AssetId) -> PreviewImage | None:
            asked.append(ident)
            return None

    copy = tmp_path / "copy.jpg"
    from PIL import Image

    with Image.open(released.file) as picture:
        picture.convert("RGB").save(copy, "JPEG", quality=85)
    own = installation.resolvers()[0]
    monkeypatch.setattr(own, "preview", lambda _ident: None)
    verifier = installation.verifier()
    monkeypatch.setattr(verifier, "_observer", replace(verifier._observer, resolvers=(own, Other())))
    assert verifier.verify(copy).finding == "unmarked"
    assert asked == []


@pytest.mark.parametrize(("p_value", "told"), [(1e-12, True), (1e-3, False)])
def test_a_weak_mark_in_sound_says_nothing_of_who_made_it(p_value: float, told: bool) -> None:
    stored = Credentials("trusted", "c2pa", generator="Studio")
    record = AssetRecord(ID, "audio", "audio/wav", b"\0" * 32, 5, "ai")
    marks = {"org.filigrana.sound.1": Detection(ID, 12.0, p_value, None, 0.01)}
    seen = Observed(Credentials("absent"), marks=marks, record=record, stored=stored, kind="audio")
    assert (seen.made_by is not None) == told
