"""Second layers from end to end: claimed where they read back, checked by verify, and a tag that leads back alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from filigrana.errors import WatermarkError
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import Release, SealRequest
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.credentials import read_credentials
from filigrana.provenance.media import Frame, encode_picture
from filigrana.provenance.trust import TrustLists
from filigrana.provenance.verify import Finding, Verifier
from filigrana.provenance.watermark.base import Detection
from filigrana.provenance.watermark.imwatermark import DwtDctSvd
from filigrana.provenance.watermark.registry import binding_value
from filigrana.provenance.watermark.tags import TagDetection
from filigrana.tests.doubles import Failing, FakeCodec, scene


@pytest.fixture
def sealed(make_engine: Callable[..., Engine], installation: Installation, tmp_path: Path) -> Callable[..., Release]:
    def seal(*layers: Any) -> Release:
        source = tmp_path / "source.png"
        source.write_bytes(encode_picture(scene(6, 256, 256), "image/png"))
        engine = make_engine(finisher=lambda: replace(installation.finisher(), layers=layers))
        released = engine.seal(SealRequest(source, "unknown"))
        assert isinstance(released, Release)
        return released

    return seal


def looked_at(installation: Installation, path: Path, *layers: Any, codecs: bool = True) -> Finding:
    given = installation.verifier()
    asked = given._observer.codecs if codecs else []
    return Verifier(installation.trust, asked, installation.resolvers(), layers=layers).verify(path)


def test_a_layer_is_claimed_and_checked(sealed: Callable[..., Release], installation: Installation) -> None:
    released = sealed(DwtDctSvd())
    claims = dict(read_credentials(released.file, "image/png", TrustLists()).soft_bindings)
    assert claims == {
        "org.filigrana.dft.1": str(released.asset_id),
        "org.filigrana.dwtdctsvd.1": str(released.asset_id),
    }
    assert looked_at(installation, released.file).finding == "verified"


def test_a_layer_that_does_not_read_back_is_not_claimed(sealed: Callable[..., Release]) -> None:
    quiet = FakeCodec(embed=lambda frames, _id: frames, detect=lambda _frames: Detection(None, 9.0, 1.0, None, 0.0))
    quiet.alg = "org.example.quiet"
    claims = dict(read_credentials(sealed(quiet).file, "image/png", TrustLists()).soft_bindings)
    assert list(claims) == ["org.filigrana.dft.1"]


def test_a_layer_that_breaks_stops_the_release(sealed: Callable[..., Release], installation: Installation) -> None:
    broken = FakeCodec(embed=Failing("raise"))
    broken.alg = "org.example.broken"
    with pytest.raises(Exception, match=r".") as error:
        sealed(broken)
    assert getattr(error.value, "code", "")
    assert "release" not in {entry["type"] for _, entry in installation.log.entries()}


def test_a_claimed_layer_that_is_not_in_the_pixels_contradicts(
    sealed: Callable[..., Release], installation: Installation
) -> None:
    released = sealed(quick := FakeCodec())
    assert quick.alg == "org.filigrana.dft.1"
    absent = FakeCodec(detect=lambda _frames: replace(FakeCodec().detect(()), asset_id=None))
    finding = looked_at(installation, released.file, absent, codecs=False)
    assert finding.finding == "contradicted"
    assert "not in the pixels" in str(finding.evidence)


class TagDouble:
    """Remembers the tag that it was asked to embed, and reads it from every picture but those it is told not to."""

    alg, tag_bits = "org.example.tag", 32

    def __init__(self, wrong_bits: int = 0) -> None:
        self.tag, self.wrong_bits = 0, wrong_bits

    def embed(self, frames: Iterable[Frame], tag: int) -> Iterator[Frame]:
        self.tag = tag
        yield from frames

    def detect(self, frames: Iterable[Frame]) -> TagDetection:
        read = self.tag ^ ((1 << self.wrong_bits) - 1)
        return TagDetection(read, (read,), 2.0, 1e-4, 0.0)


def stripped(released: Release) -> Path:
    with Image.open(released.file) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    path = released.file.with_name("stripped.png")
    Image.fromarray(pixels).save(path)
    return path


def test_a_tag_alone_leads_back_to_what_its_preview_confirms(
    sealed: Callable[..., Release], installation: Installation
) -> None:
    layer = TagDouble()
    released = sealed(layer)
    claims = dict(read_credentials(released.file, "image/png", TrustLists()).soft_bindings)
    assert claims[layer.alg] == binding_value(layer, released.asset_id)  # type: ignore[arg-type]
    assert looked_at(installation, released.file, layer).finding == "verified"
    layer.wrong_bits = 1
    found = looked_at(installation, stripped(released), layer, codecs=False)
    assert (found.finding, found.asset_id) == ("recovered", released.asset_id)
    assert "tag of org.example.tag" in str(found.evidence)


@pytest.mark.parametrize("wrong", ["bits", "picture"])
def test_a_tag_that_fits_badly_or_on_another_picture_leads_nowhere(
    sealed: Callable[..., Release], installation: Installation, wrong: str, tmp_path: Path
) -> None:
    layer = TagDouble()
    copy = stripped(sealed(layer))
    if wrong == "bits":
        layer.wrong_bits = 2
    else:
        copy.write_bytes(encode_picture(scene(31, 256, 256), "image/png"))
    assert looked_at(installation, copy, layer, codecs=False).finding == "unmarked"


def test_the_setting_names_its_layers(tmp_path: Path) -> None:
    chosen = Installation(load_settings(data_dir=tmp_path, watermark_layers=["dwtdctsvd"]))
    assert [layer.alg for layer in chosen.layers()] == ["org.filigrana.dwtdctsvd.1"]
    with pytest.raises(WatermarkError, match="there is no watermark layer 'nosuch'"):
        Installation(load_settings(data_dir=tmp_path, watermark_layers=["nosuch"])).layers()
