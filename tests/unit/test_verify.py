"""Findings: what the verifier says of released files, of what strangers make of them, and of what never was ours."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.credentials import Credentials
from filigrana.provenance.identity import AssetId
from filigrana.provenance.labels import MetadataLabel
from filigrana.provenance.media import encode_picture
from filigrana.provenance.preview import Comparison
from filigrana.provenance.resolver import LogEvidence
from filigrana.provenance.verify import EXIT_CODES, Observed, Verifier, weigh, worst_exit_code
from filigrana.provenance.watermark.base import Detection, Geometry
from filigrana.provenance.watermark.dft import ALG, Dft
from filigrana.tests.doubles import put, scene

ID, OTHER = AssetId(1 << 40 | 77), AssetId(99)
MakeEngine = Callable[..., Engine]


@pytest.fixture
def release(make_engine: MakeEngine) -> Release:
    outcome = make_engine().generate(GenerateRequest("a red sailboat", seed=4, mime="image/png"))
    assert isinstance(outcome, Release)
    return outcome


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB")).copy()


def save(folder: Path, name: str, rgb: np.ndarray, **options: Any) -> Path:
    path = folder / name
    Image.fromarray(rgb).save(path, **options)
    return path


# ── on real files ────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_released_file_is_verified(installation: Installation, release: Release) -> None:
    finding = installation.verifier().verify(release.file)
    assert (finding.finding, finding.asset_id, finding.trust, finding.match) == (
        "verified", release.asset_id, "development", "same",
    )  # fmt: skip
    assert {e.technique for e in finding.evidence if e.status == "pass"} >= {
        "c2pa.signature", "c2pa.timestamp", "watermark", "metadata", "catalog", "log", "preview",
    }  # fmt: skip


def test_elsewhere_the_same_file_is_only_intact(release: Release, tmp_path: Path) -> None:
    """A development root counts only on the installation that made it."""
    other = Installation(load_settings(data_dir=tmp_path / "other"))
    finding = other.verifier().verify(release.file)
    assert (finding.finding, finding.trust) == ("intact", "none")
    assert not (tmp_path / "other").exists(), "verify made something"


@pytest.mark.parametrize("quality", [90, 75])
def test_a_stripped_re_encoded_copy_is_recovered(
    installation: Installation, release: Release, tmp_path: Path, quality: int
) -> None:
    copy = save(tmp_path, "copy.jpg", pixels(release.file), quality=quality)
    finding = installation.verifier().verify(copy)
    assert (finding.finding, finding.asset_id, finding.match) == ("recovered", release.asset_id, "same")


def test_a_painted_copy_is_altered_and_says_where(installation: Installation, release: Release, tmp_path: Path) -> None:
    rgb = pixels(release.file)
    rgb[100:180, 300:380] = (255, 0, 255)
    finding = installation.verifier().verify(save(tmp_path, "painted.png", rgb))
    assert (finding.finding, finding.match) == ("altered", "edited")
    region = finding.regions[0]
    assert region.left <= 300 / 512 <= 380 / 512 <= region.right
    assert region.top <= 100 / 512 <= 180 / 512 <= region.bottom


def test_changed_pixels_under_the_old_credentials_are_altered(
    installation: Installation, release: Release, tmp_path: Path
) -> None:
    data = bytearray(release.file.read_bytes())
    at = data.rindex(b"IDAT") - 2000
    data[at] ^= 1
    path = tmp_path / "bitflip.png"
    path.write_bytes(data)
    assert installation.verifier().verify(path).finding in ("altered", "unreadable")


def test_a_transplanted_mark_is_contradicted(installation: Installation, release: Release, tmp_path: Path) -> None:
    foreign = put(Dft(), scene(1234), release.asset_id)
    finding = installation.verifier().verify(save(tmp_path, "transplant.png", foreign))
    assert (finding.finding, finding.match) == ("contradicted", "different")


def test_a_mark_that_resolves_nowhere_proves_nothing(installation: Installation, release: Release, tmp_path: Path) -> None:
    foreign = put(Dft(), scene(5), OTHER)
    finding = installation.verifier().verify(save(tmp_path, "unknown.png", foreign))
    assert (finding.finding, finding.asset_id) == ("unmarked", OTHER)


def test_a_foreign_picture_is_unmarked(installation: Installation, release: Release, tmp_path: Path) -> None:
    finding = installation.verifier().verify(save(tmp_path, "foreign.png", scene(77)))
    assert (finding.finding, finding.asset_id) == ("unmarked", None)


def test_a_signature_over_the_wrong_mark_is_contradicted(
    installation: Installation, make_engine: MakeEngine, tmp_path: Path
) -> None:
    """A signer that claims a watermark which is not in the pixels: no other verifier looks."""
    from filigrana.provenance.manifest import definition
    from filigrana.tests.signing_kit import Kit, statement

    installation.ensure_keys()
    kit = Kit(installation.keys)
    for name, picture in (("none", scene(2)), ("other", put(Dft(), scene(2), OTHER))):
        source, target = tmp_path / f"{name}.src", tmp_path / f"{name}.png"
        source.write_bytes(encode_picture(picture, "image/png"))
        kit.sign(source, target, "image/png", definition(statement("image/png")))
        finding = installation.verifier().verify(target)
        assert finding.finding == "contradicted", name
        assert any(e.technique == "cross-check" and e.status == "fail" for e in finding.evidence)


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WAVE", b"\0\0\0\x18ftypmp42"])
def test_what_is_no_media_is_unreadable(installation: Installation, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file.png"
    path.write_bytes(data)
    assert installation.verifier().verify(path).finding == "unreadable"


def test_bytes_are_verified_like_files(installation: Installation, release: Release) -> None:
    from filigrana.pipeline.api import verify_many

    assert verify_many([release.file.read_bytes()], installation)[0].finding == "verified"


def test_a_changed_catalog_row_is_not_believed(installation: Installation, release: Release) -> None:
    """The log has the last word: a catalog row that says otherwise than its log entry is no evidence."""
    from dataclasses import replace

    resolver = installation.resolvers()[0]
    record = resolver.by_asset_id(release.asset_id)
    assert record is not None
    assert resolver.log_evidence(record).ok
    assert not resolver.log_evidence(replace(record, sha256=bytes(32))).ok
    assert not resolver.log_evidence(replace(record, log_index=0)).ok
    assert not resolver.log_evidence(replace(record, log_index=None)).ok


# ── the rules of weighing, one by one ────────────────────────────────────────────────────────────────────────────
def mark(asset_id: AssetId | None) -> dict[str, Detection]:
    return {ALG: Detection(asset_id, 18.0 if asset_id else 9.0, 1e-9 if asset_id else 1.0, Geometry(), 0.01)}


class Row:
    """As much of a catalog row as weighing looks at."""

    def __init__(self, asset_id: AssetId = ID) -> None:
        self.asset_id = asset_id


GOOD = LogEvidence(True, 3, 4, "proven")
BAD = LogEvidence(False, 3, 4, "not proven")
BOUND = ((ALG, str(ID)),)


def seen(state: str, **changes: Any) -> Observed:
    fields: dict[str, Any] = {
        "credentials": Credentials(state, "development", soft_bindings=BOUND, record={"assetId": str(ID)}),  # type: ignore[arg-type]
        "marks": mark(ID),
    }
    return Observed(**(fields | changes))


def comparison(match: str) -> Comparison:
    return Comparison(match, 0.2, ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (seen("trusted"), "verified"),
        (seen("valid"), "intact"),
        (seen("invalid"), "altered"),
        (seen("damaged"), "altered"),
        (seen("trusted", marks=mark(None)), "contradicted"),
        (seen("valid", marks=mark(None)), "contradicted"),
        (seen("trusted", marks=mark(OTHER)), "contradicted"),
        (seen("trusted", label=MetadataLabel(None, str(OTHER))), "contradicted"),
        (
            seen(
                "trusted",
                credentials=Credentials("trusted", "c2pa", soft_bindings=BOUND, source_type="a"),
                label=MetadataLabel("b", None),
            ),
            "contradicted",
        ),
        (seen("trusted", exact=True, record=Row(), log=BAD), "contradicted"),
        (seen("trusted", record=Row(), comparison=comparison("different")), "contradicted"),
        (seen("absent", credentials=Credentials("absent"), record=Row(), log=GOOD, comparison=comparison("same")), "recovered"),
        (seen("absent", credentials=Credentials("absent"), record=Row(), log=BAD, comparison=comparison("same")), "contradicted"),
        (seen("absent", credentials=Credentials("absent"), record=Row(), log=GOOD, comparison=comparison("edited")), "altered"),
        (seen("absent", credentials=Credentials("absent"), record=Row(), log=GOOD, comparison=comparison("different")), "contradicted"),
        (seen("absent", credentials=Credentials("absent"), record=Row(), log=GOOD), "unmarked"),
        (seen("absent", credentials=Credentials("absent")), "unmarked"),
        (seen("absent", credentials=Credentials("absent"), marks=mark(None)), "unmarked"),
    ],
)  # fmt: skip
def test_rules_of_weighing(observed: Observed, expected: str) -> None:
    finding, _, evidence = weigh(observed)
    assert finding == expected
    assert evidence


def test_exit_codes_of_several_files_are_the_worst_in_order() -> None:
    assert worst_exit_code([0, 0]) == 0
    assert worst_exit_code([0, 7]) == 7
    assert worst_exit_code([7, 3, 4]) == 4
    assert worst_exit_code([4, 6, 5]) == 5
    assert worst_exit_code([5, 1]) == 1
    assert worst_exit_code([]) == 0
    assert len(EXIT_CODES) == 7


def test_a_verifier_without_resolvers_still_answers(release: Release, tmp_path: Path) -> None:
    from filigrana.provenance.trust import TrustLists

    finding = Verifier(TrustLists(), [Dft()]).verify(release.file)
    assert finding.finding == "intact"
    out = io.BytesIO()
    Image.fromarray(pixels(release.file)).save(out, "PNG")
    path = tmp_path / "x.png"
    path.write_bytes(out.getvalue())
    assert Verifier(TrustLists(), [Dft()]).verify(path).finding == "unmarked"
