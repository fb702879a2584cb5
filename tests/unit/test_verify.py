"""Findings: what the verifier says of released files, of what strangers make of them, and of what never was ours."""

from __future__ import annotations

import io
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from filigrana.errors import WatermarkError
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.comparing import Comparison
from filigrana.provenance.credentials import Credentials
from filigrana.provenance.identity import AssetId
from filigrana.provenance.labels import MetadataLabel
from filigrana.provenance.media import encode_picture
from filigrana.provenance.records import LogEvidence
from filigrana.provenance.synchrony import synchrony
from filigrana.provenance.verify import EXIT_CODES, Observed, Verifier, weigh, worst_exit_code
from filigrana.provenance.watermark.base import Detection, Geometry, Timing
from filigrana.provenance.watermark.dft import ALG, Dft
from filigrana.tests.doubles import put, scene

SOUND = "org.filigrana.sound.1"
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
    assert {e.technique for e in finding.evidence if e.status == "ok"} >= {
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


def test_what_is_known_of_the_original_is_said_of_the_original(
    installation: Installation, release: Release, tmp_path: Path
) -> None:
    rgb = pixels(release.file)
    rgb[60:200, 60:200] = (250, 40, 30)
    finding = installation.verifier().verify(save(tmp_path, "painted.png", rgb))
    assert finding.finding == "altered"
    assert any(line.startswith("Of the original: ") for line in finding.telling().explanation)


def test_a_cropped_and_turned_copy_is_recovered_and_told_in_words(
    installation: Installation, release: Release, tmp_path: Path
) -> None:
    rgb = pixels(release.file)
    copy = np.ascontiguousarray(np.rot90(rgb[40:470, 60:500])[:, ::-1])
    finding = installation.verifier().verify(save(tmp_path, "crop.jpg", copy, quality=80))
    assert (finding.finding, finding.asset_id, finding.match) == ("recovered", release.asset_id, "same")
    told = next(e.detail for e in finding.evidence if e.technique == "watermark" and e.status == "ok")
    assert "mirrored" in told
    assert "turned by" in told
    assert "% of the original" in told


def test_a_screenshot_is_recovered_and_says_what_is_around_it(
    installation: Installation, release: Release, tmp_path: Path
) -> None:
    page = np.full((760, 900, 3), 235, np.uint8)
    page[120:632, 200:712] = pixels(release.file)
    finding = installation.verifier().verify(save(tmp_path, "page.png", page))
    assert (finding.finding, finding.match) == ("recovered", "same")
    assert any("is not the original and was not compared" in e.detail for e in finding.evidence)


def test_a_painted_crop_is_altered_where_it_is_painted(
    installation: Installation, release: Release, tmp_path: Path
) -> None:
    """Regions are fractions of the file that was checked, not of the original."""
    rgb = pixels(release.file)[60:480, 80:500]
    rgb[300:360, 40:100] = (255, 0, 255)
    finding = installation.verifier().verify(save(tmp_path, "painted.png", rgb))
    assert (finding.finding, finding.match) == ("altered", "edited")
    region = finding.regions[0]
    assert region.left <= 40 / 420 + 0.03
    assert region.right >= 100 / 420 - 0.03
    assert region.right < 0.4
    assert region.top <= 300 / 420 + 0.03


class Counting:
    """A codec that says how often it was asked, and finds what it was told to find."""

    def __init__(self, alg: str, found: AssetId | None = None, fault: WatermarkError | None = None) -> None:
        self.alg, self.found, self.fault, self.asked = alg, found, fault, 0

    def embed(self, items: Any, _asset_id: AssetId) -> Any:
        yield from items

    def detect(self, items: Any) -> Detection:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        for _ in items:
            pass
        hit = self.found is not None
        return Detection(self.found, 18.0 if hit else 9.0, 1e-12 if hit else 1.0, None, 0.01)


def test_the_second_codec_is_asked_only_where_the_first_left_something_open(
    installation: Installation, release: Release, tmp_path: Path
) -> None:
    stripped = save(tmp_path, "stripped.png", pixels(release.file))
    foreign = save(tmp_path, "foreign.png", scene(3))
    for path, expected in ((stripped, 0), (foreign, 1)):
        second = Counting("org.example.second")
        verifier = Verifier(installation.trust, [Dft(), second], installation.resolvers())
        finding = verifier.verify(path)
        assert second.asked == expected, path.name
        assert all(e.status != "failed" for e in finding.evidence), "a codec that finds nothing looked like a problem"
    claimed = Counting(ALG, release.asset_id), Counting("org.example.second", release.asset_id)
    Verifier(installation.trust, claimed, installation.resolvers()).verify(release.file)
    assert [c.asked for c in claimed] == [1, 0]
    claimed = Counting("org.example.second", None), Counting(ALG, release.asset_id)
    Verifier(installation.trust, claimed, installation.resolvers()).verify(release.file)
    assert [c.asked for c in claimed] == [1, 1], "what the manifest claims is always looked for"


def test_a_codec_that_cannot_look_is_a_warning(installation: Installation, release: Release) -> None:
    broken = Counting(ALG, fault=WatermarkError("the package is not installed"))
    finding = Verifier(installation.trust, [broken], installation.resolvers()).verify(release.file)
    assert finding.finding == "verified"
    assert ("watermark", "warning") in {(e.technique, e.status) for e in finding.evidence}


def wav(folder: Path, seconds: float = 1.0, name: str = "sound.wav") -> Path:
    path = folder / name
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        tone = np.sin(np.arange(int(16000 * seconds)) * 0.05) * 8000
        out.writeframes(tone.astype("<i2").tobytes())
    return path


def test_sound_files_are_listened_to_and_read_to_their_end(tmp_path: Path) -> None:
    from filigrana.provenance.trust import TrustLists

    heard = Counting(SOUND, ID)
    finding = Verifier(TrustLists(), [], sound_codecs=[heard]).verify(wav(tmp_path))
    assert (heard.asked, finding.finding, finding.asset_id) == (1, "unmarked", ID)
    broken = Counting(SOUND, fault=WatermarkError("too short"))
    finding = Verifier(TrustLists(), [], sound_codecs=[broken]).verify(wav(tmp_path))
    assert (finding.finding, finding.asset_id) == ("unmarked", None)
    assert ("watermark", "warning") in {(e.technique, e.status) for e in finding.evidence}


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
    assert finding.made_by is None, "the stolen mark says nothing of the picture that it was put into"
    assert finding.history["nodes"] == []
    assert "AI" not in " ".join(finding.telling().explanation)


def test_a_mark_that_resolves_nowhere_proves_nothing(
    installation: Installation, release: Release, tmp_path: Path
) -> None:
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
        assert any(e.technique == "cross-check" and e.status == "failed" for e in finding.evidence)


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WAVE", b"\0\0\0\x18ftypmp42"]
)
def test_what_is_no_media_is_unreadable(installation: Installation, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file.png"
    path.write_bytes(data)
    assert installation.verifier().verify(path).finding == "unreadable"


def test_bytes_are_verified_like_files(installation: Installation, release: Release) -> None:
    assert installation.inspector.verify(release.file.read_bytes()).finding == "verified"


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

    def __init__(self, asset_id: AssetId = ID, duration: float | None = None, media: str = "image") -> None:
        self.asset_id, self.duration, self.media = asset_id, duration, media


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


def clip_copy(match: str, **changes: Any) -> Observed:
    """A copy of a ten-second clip without its credentials."""
    fields: dict[str, Any] = {
        "credentials": Credentials("absent"),
        "record": Row(duration=10.0, media="video"),
        "log": GOOD,
        "comparison": comparison(match),
        "kind": "video",
        "duration": 10.0,
    }
    return seen("absent", **(fields | changes))


@pytest.mark.parametrize(
    ("observed", "expected", "word"),
    [
        (clip_copy("same"), "recovered", ""),
        (clip_copy("same", duration=10.4), "recovered", ""),
        (clip_copy("same", duration=13.0), "altered", "longer than the original"),
        (clip_copy("different"), "contradicted", ""),
        (clip_copy("different", duration=2.0), "unmarked", "nothing was compared"),
        (clip_copy("different", kind="image", duration=None), "unmarked", "nothing was compared"),
        (clip_copy("same", duration=2.0), "recovered", ""),
        (clip_copy("same", has_sound=True, sound_loud=True, sound_mark=Detection(None, 9.0, 1.0, None, 0.1)), "altered", "no sound to speak of"),
        (clip_copy("same", has_sound=True, sound_mark=Detection(None, 9.0, 1.0, None, 0.1)), "recovered", ""),
    ],
)  # fmt: skip
def test_rules_of_weighing_clips(observed: Observed, expected: str, word: str) -> None:
    finding, _, evidence = weigh(observed)
    assert finding == expected
    assert word in str(evidence)


def test_a_release_under_an_organisation_s_key_is_not_accused_by_others(
    make_engine: Callable[..., Engine], installation: Installation, tmp_path: Path
) -> None:
    from dataclasses import replace

    from filigrana.provenance.watermark.dft import Dft

    secret = b"an organisation's own key"
    engine = make_engine(finisher=lambda: replace(installation.finisher(), codec=Dft(secret), key=secret))
    released = engine.generate(GenerateRequest("a red boat"))
    assert isinstance(released, Release)
    for codecs in ([Dft()], [Dft(b"another organisation's key")], [Dft(secret), Dft()]):
        assert (
            Verifier(installation.trust, codecs, installation.resolvers()).verify(released.file).finding == "verified"
        )
    assert len({Dft().alg, Dft(secret).alg, Dft(b"another organisation's key").alg}) == 3


NAKED = Credentials("absent")
SIGNED = Credentials("valid", soft_bindings=BOUND, record={"assetId": str(ID)})
BOTH_BOUND = Credentials("valid", soft_bindings=(*BOUND, (SOUND, str(ID))), record={"assetId": str(ID)})


def heard(asset_id: AssetId | None, p_value: float = 1e-12, timing: Timing | None = None) -> Detection:
    return Detection(asset_id, 15.0 if asset_id else 9.0, p_value if asset_id else 1.0, None, 0.01, timing=timing)


def stripped_clip(**changes: Any) -> Observed:
    """A clip without credentials whose pictures resolve and are the same."""
    fields: dict[str, Any] = {
        "credentials": NAKED, "kind": "video", "record": Row(), "log": GOOD, "comparison": comparison("same"),
        "has_sound": True, "sound_alg": SOUND, "sound_mark": heard(ID),
    }  # fmt: skip
    return seen("absent", **(fields | changes))


def timed(offset: float, speed: float = 1.0) -> dict[str, Detection]:
    return {ALG: Detection(ID, 18.0, 1e-9, Geometry(), 0.01, timing=Timing(offset, 0.1, speed))}


def stripped_sound(**changes: Any) -> Observed:
    fields: dict[str, Any] = {
        "credentials": NAKED, "kind": "audio", "record": Row(duration=30.0), "log": GOOD, "duration": 12.0,
        "marks": {SOUND: heard(ID)},
    }  # fmt: skip
    return seen("absent", **(fields | changes))


MARKS_AGAINST_CLAIMS = [
    (SIGNED, mark(ID), "intact", ""),
    (SIGNED, mark(None), "contradicted", "there is none in the pixels"),
    (SIGNED, mark(OTHER), "contradicted", f"the pixels carry {OTHER}"),
    (SIGNED, mark(ID) | {"org.example.second": heard(None)}, "intact", ""),
    (SIGNED, mark(ID) | {"org.example.second": heard(ID)}, "intact", ""),
    (SIGNED, mark(ID) | {"org.example.second": heard(OTHER)}, "contradicted", "which the manifest does not claim"),
    (Credentials("valid"), mark(ID), "contradicted", "which the manifest does not claim"),
    (Credentials("valid"), mark(None), "intact", ""),
    (Credentials("valid", ingredients=("parentOf",)), mark(ID), "intact", ""),
    (Credentials("valid", record={"assetId": str(ID)}), mark(ID), "intact", ""),
    (Credentials("valid", record={"assetId": str(ID)}), mark(OTHER), "contradicted", "which the manifest does not"),
]


@pytest.mark.parametrize(("credentials", "marks", "expected", "said"), MARKS_AGAINST_CLAIMS)
def test_what_is_claimed_and_what_is_there_must_agree(
    credentials: Credentials, marks: dict[str, Detection], expected: str, said: str
) -> None:
    """Claimed and absent, present and unclaimed, another asset's: each is named. A mark that agrees with the manifest's
    id, or whose claim a parent's manifest may hold, is none of these."""
    finding, _, evidence = weigh(seen("valid", credentials=credentials, marks=marks))
    assert finding == expected
    failed = [e.detail for e in evidence if e.status == "failed"]
    assert bool(failed) == bool(said)
    assert all(said in text for text in failed)


@pytest.mark.parametrize("match", ["edited", "different"])
def test_a_signature_over_another_content_than_was_released_is_contradicted(match: str) -> None:
    assert weigh(seen("valid", record=Row(), log=GOOD, comparison=comparison(match)))[0] == "contradicted"
    assert weigh(seen("valid", record=Row(), log=GOOD, comparison=comparison("same")))[0] == "intact"


CLIPS = [
    (stripped_clip(), "recovered"),
    (stripped_clip(marks=timed(4.0), sound_mark=heard(ID, timing=Timing(4.2, 0.004))), "recovered"),
    (stripped_clip(marks=timed(31.9), sound_mark=heard(ID, timing=Timing(0.05, 0.004))), "recovered"),
    (stripped_clip(marks=timed(4.0), sound_mark=heard(ID, timing=Timing(0.8, 0.004))), "altered"),
    (stripped_clip(marks=timed(4.0), sound_mark=heard(ID, timing=Timing(4.0, 0.004, 1.02))), "altered"),
    (stripped_clip(sound_mark=heard(OTHER)), "contradicted"),
    (stripped_clip(sound_mark=heard(OTHER), record=None, comparison=None), "contradicted"),
    (stripped_clip(sound_mark=heard(None)), "recovered"),
    (stripped_clip(sound_mark=heard(None), sound_bound=True), "altered"),
    (stripped_clip(sound_mark=None, has_sound=False, sound_bound=True), "recovered"),
    (stripped_clip(sound_mark=heard(ID), marks=mark(None), comparison=comparison("different")), "contradicted"),
    (stripped_clip(credentials=SIGNED, sound_mark=heard(OTHER)), "contradicted"),
    (stripped_clip(credentials=SIGNED, sound_mark=heard(ID)), "intact"),
    (stripped_clip(credentials=BOTH_BOUND, sound_mark=heard(None)), "contradicted"),
    (stripped_clip(credentials=BOTH_BOUND, sound_mark=heard(ID)), "intact"),
    (
        stripped_clip(credentials=BOTH_BOUND, marks=timed(4.0), sound_mark=heard(ID, timing=Timing(7.0, 0.004))),
        "contradicted",
    ),
]


@pytest.mark.parametrize(("observed", "expected"), CLIPS)
def test_a_clip_s_sound_must_be_its_own(observed: Observed, expected: str) -> None:
    assert weigh(observed)[0] == expected


def test_a_moved_or_missing_sound_track_is_said_in_words() -> None:
    moved = weigh(stripped_clip(marks=timed(4.0), sound_mark=heard(ID, timing=Timing(0.8, 0.004))))[2]
    assert ("av-sync", "failed", "the sound was moved by +3.2 s against the picture") in [
        (e.technique, e.status, e.detail) for e in moved
    ]
    muted = weigh(stripped_clip(sound_mark=None, has_sound=False, sound_bound=True))[2]
    assert any(e.status == "warning" and "muted" in e.detail for e in muted)
    replaced = weigh(stripped_clip(sound_mark=heard(None), sound_bound=True))[2]
    assert any(e.status == "failed" and "not the original's" in e.detail for e in replaced)


@pytest.mark.parametrize(
    ("pictures", "sound", "late"), [(4.0, 0.8, 3.2), (0.8, 4.0, -3.2), (31.0, 1.0, -2.0), (1.0, 31.0, 2.0)]
)
def test_late_sound_is_counted_around_the_cycle(pictures: float, sound: float, late: float) -> None:
    found = synchrony(Timing(pictures, 0.1), Timing(sound, 0.01))
    assert found.late == pytest.approx(late)
    assert not found.ok
    assert synchrony(Timing(pictures, 0.1), Timing(pictures + 0.2, 0.01)).ok
    assert not synchrony(Timing(pictures, 0.1), Timing(pictures + 0.3, 0.01)).ok


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (stripped_sound(), "recovered"),
        (stripped_sound(duration=30.2), "recovered"),
        (stripped_sound(duration=45.0), "altered"),
        (stripped_sound(duration=None), "unmarked"),
        (stripped_sound(record=Row()), "unmarked"),
        (stripped_sound(marks={SOUND: heard(ID, 1e-8)}), "unmarked"),
        (stripped_sound(marks={SOUND: heard(None)}, record=None), "unmarked"),
        (stripped_sound(log=BAD), "contradicted"),
        (stripped_sound(exact=True), "recovered"),
    ],
)
def test_sound_alone_is_recovered_only_beyond_doubt(observed: Observed, expected: str) -> None:
    finding, _, evidence = weigh(observed)
    assert finding == expected
    if finding == "recovered" and not observed.exact:
        assert any("content was not compared" in e.detail for e in evidence), "it must say what was not checked"


def test_the_geometry_that_counts_is_the_resolved_asset_s() -> None:
    turned = Geometry(rotation_degrees=5.0)
    marks = {"a": Detection(OTHER, 18, 1e-9, Geometry(), 0.1), "b": Detection(ID, 18, 1e-9, turned, 0.1)}
    assert seen("absent", marks=marks, record=Row()).geometry() is turned
    assert seen("absent", marks=marks, record=None).geometry() is None


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
