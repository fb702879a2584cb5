"""What an attacker would try: each test says what would be gained if it did not hold."""

from __future__ import annotations

import datetime as dt
import json
import socket
import time
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from filigrana.errors import FiligranaError
from filigrana.pipeline import recall
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.rekeying import rotate
from filigrana.pipeline.report import report, write_report
from filigrana.pipeline.request import Release, SealRequest
from filigrana.provenance.catalog import Catalog
from filigrana.provenance.database import session
from filigrana.provenance.finding import Evidence, Finding
from filigrana.provenance.identity import AssetId
from filigrana.provenance.isolation.confine import available
from filigrana.provenance.isolation.host import IsolatedVerifier, _converse
from filigrana.provenance.isolation.wire import Config, finding_in, finding_out
from filigrana.provenance.manifest import definition
from filigrana.provenance.media import encode_picture, open_media
from filigrana.provenance.records import AssetRecord, LogEvidence, PreviewImage, RevokedKey, StoredManifest
from filigrana.provenance.signers import FileSigner
from filigrana.provenance.signing import sign_file
from filigrana.provenance.verify import Verifier
from filigrana.provenance.words import words
from filigrana.tests.doubles import scene
from filigrana.tests.serving import engine
from filigrana.tests.signing_kit import statement


def sealed(made: Engine, path: Path) -> Release:
    released = made.seal(SealRequest(path, "camera"))
    assert isinstance(released, Release)
    return released


def picture(folder: Path, seed: int, mime: str = "image/png") -> Path:
    path = folder / f"in{seed}.{mime.rpartition('/')[2]}"
    path.write_bytes(encode_picture(scene(seed), mime))
    return path


def sound(folder: Path, seed: int, seconds: float = 12) -> Path:
    noise = np.random.default_rng(seed).normal(0, 1, round(44_100 * seconds))
    smooth = np.convolve(noise, np.ones(20) / 20, "same")
    path = folder / f"in{seed}.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(44_100)
        out.writeframes((smooth / np.abs(smooth).max() * 20_000).astype("<i2").tobytes())
    return path


def asked_of(installation: Installation, *resolvers: Any) -> Verifier:
    """This installation's verifier, asking ``resolvers``."""
    verifier = installation.verifier()
    verifier._observer = replace(verifier._observer, resolvers=resolvers)
    return verifier


def status(finding: Finding, technique: str) -> list[str]:
    return [e.status for e in finding.evidence if e.technique == technique]


# ── the reader's own start ───────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.skipif(not available().whole, reason="this kernel cannot confine a process")
def test_the_folder_one_stands_in_lends_no_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of files to check, with a `cv2.py` in it: whoever stands in it and verifies would run that program,
    unconfined."""
    trace = tmp_path / "ran"
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    for name in ("cv2", "av", "c2pa", "numpy"):
        (stranger / f"{name}.py").write_text(f"open({str(trace)!r}, 'w')")
    photo = picture(stranger, 3)
    monkeypatch.chdir(stranger)
    with IsolatedVerifier(Config()) as isolated:
        assert isolated.verify(photo).finding == "unmarked"
    assert not trace.exists()


def test_a_child_that_does_not_read_the_answer_is_not_waited_for() -> None:
    """A decoder that was taken over asks for a large preview and never reads it: the host's thread would wait for
    good, and two such files would end a service."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        body = b'{"resolver": 0, "ask": "preview", "with": ["000000000001"]}'
        theirs.sendall(len(body).to_bytes(4, "big") + body)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            _converse(
                ours.fileno(), [Liar(None, preview=PreviewImage("image/jpeg", bytes(8 << 20), 1, 1))], started + 0.5
            )
        assert time.monotonic() - started < 10


# ── withdrawn keys ───────────────────────────────────────────────────────────────────────────────────────────────
def stolen_file(installation: Installation, source: Path, mime: str, asset_id: AssetId, target: Path) -> Path:
    with installation.tsa() as url:
        manifest = definition(statement(mime, asset_id=asset_id, bindings=()))
        sign_file(source, target, mime, manifest, FileSigner(installation.keys.claim()), tsa_url=url)
    return target


def test_a_stolen_key_gains_nothing_by_an_old_asset_s_number(installation: Installation, tmp_path: Path) -> None:
    """Who has a withdrawn key signs a sound of his own and lets it name an asset from before the theft: sound has no
    preview that would speak against it, and it would be `verified`."""
    made = engine(installation)
    before, within = sealed(made, sound(tmp_path, 1)), sealed(made, picture(tmp_path, 2))
    forged = stolen_file(installation, sound(tmp_path, 9), "audio/wav", before.asset_id, tmp_path / "forged.wav")
    old = rotate(installation).old
    recall.revoke(installation, first=within.log.index, last=None, reason="stolen", certificate=old)
    assert installation.verifier().verify(before.file).finding == "verified", "control: what was signed before stands"
    finding = installation.verifier().verify(forged)
    assert finding.finding == "intact"
    assert status(finding, "c2pa.revocation") == ["failed"]


def test_a_catalog_that_is_gone_does_not_give_a_withdrawn_key_back(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the database out of reach, what was signed with a withdrawn key would be `verified` again; and that nobody
    could be asked must not be told as the signer's word."""
    made = engine(installation)
    released = sealed(made, picture(tmp_path, 1))
    resolver = installation.resolvers()[0]

    def gone(*_: object) -> None:
        raise FiligranaError("the database is gone", code="database")

    for name in ("by_asset_id", "by_binding", "by_sha256", "revoked_signer"):
        monkeypatch.setattr(resolver, name, gone)
    finding = asked_of(installation, resolver).verify(released.file)
    assert finding.finding == "intact"
    assert status(finding, "c2pa.revocation") == ["warning"]
    assert not any("no longer stands by it" in line for line in finding.telling().explanation)


# ── catalogs that lie ────────────────────────────────────────────────────────────────────────────────────────────
class Liar:
    """A catalog elsewhere that says whatever helps; its log is its own."""

    name = "the catalog at liar.example"

    def __init__(
        self,
        record: AssetRecord | None,
        manifest: StoredManifest | None = None,
        preview: PreviewImage | None = None,
        log: LogEvidence | None = None,
    ) -> None:
        self._record, self._manifest, self._preview = record, manifest, preview
        self._log = log or LogEvidence(True, 1, 2, "proven", pinned=False)

    def by_asset_id(self, _: AssetId) -> AssetRecord | None:
        return self._record

    def by_binding(self, _alg: str, _value: str) -> AssetRecord | None:
        return None

    def by_sha256(self, digest: bytes) -> AssetRecord | None:
        return None if self._record is None else replace(self._record, sha256=digest)

    def preview(self, _: AssetId) -> PreviewImage | None:
        return self._preview

    def manifest(self, _: AssetId) -> StoredManifest | None:
        return self._manifest

    def revoked(self, _: AssetId, _at: dt.datetime | None) -> RevokedKey | None:
        return None

    def revoked_signer(self, _: str, _at: dt.datetime | None) -> RevokedKey | None:
        return None

    def log_evidence(self, _: AssetRecord) -> LogEvidence:
        return self._log


def kept(installation: Installation, ident: AssetId) -> tuple[AssetRecord, StoredManifest]:
    with session(installation.log.engine) as opened:
        catalog = Catalog(opened)
        record, stores = catalog.by_asset_id(ident), catalog.manifests(ident)
    assert record is not None
    return record, StoredManifest(*list(stores.items())[-1])


def test_a_catalog_cannot_lend_a_signer_s_name_to_any_file(installation: Installation, tmp_path: Path) -> None:
    """The hash that it is asked for is the hash that it "released", with the true manifest of a known signer: any file
    would be `recovered`, "these are the released bytes", by that signer."""
    released = sealed(engine(installation), picture(tmp_path, 1))
    record, manifest = kept(installation, released.asset_id)
    fake = picture(tmp_path, 9)
    finding = asked_of(installation, Liar(record, manifest)).verify(fake)
    assert finding.finding == "contradicted"
    assert any("another content" in e.detail for e in finding.evidence)


def test_released_bytes_without_a_proof_in_the_log_are_not_recovered(
    installation: Installation, tmp_path: Path
) -> None:
    """A row slipped into a catalog would make its file a released one."""
    released = sealed(engine(installation), picture(tmp_path, 1))
    record, _ = kept(installation, released.asset_id)
    unproven = LogEvidence(False, 1, 2, "not proven")
    assert asked_of(installation, Liar(record, log=unproven)).verify(picture(tmp_path, 9)).finding == "contradicted"


def test_the_picture_to_compare_with_is_a_catalog_s_word(installation: Installation, tmp_path: Path) -> None:
    """The manifest and the mark are the original's, the preview is of the changed copy: the answer must not say more
    than that this catalog says so."""
    released = sealed(engine(installation), picture(tmp_path, 1))
    record, manifest = kept(installation, released.asset_id)
    own = installation.resolvers()[0].preview(released.asset_id)
    liar = Liar(record, manifest, own)
    liar.by_binding = lambda _alg, _value: record  # type: ignore[method-assign]
    liar.by_sha256 = lambda digest: None  # type: ignore[method-assign, assignment]
    finding = asked_of(installation, liar).verify(stripped(released.file, tmp_path / "copy.png"))
    assert finding.finding == "recovered"
    assert any("the word of the catalog at liar.example" in e.detail for e in finding.evidence)
    assert any("liar.example" in line for line in finding.telling().not_conclude)


# ── copies that show something else than what is compared ────────────────────────────────────────────────────────
def stripped(file: Path, target: Path, alpha: np.ndarray | None = None) -> Path:
    with Image.open(file) as opened:
        rgb = np.asarray(opened.convert("RGB"))
    Image.fromarray(rgb if alpha is None else np.dstack([rgb, alpha])).save(target)
    return target


def test_transparency_hides_nothing_from_the_comparison(installation: Installation, tmp_path: Path) -> None:
    """Every pixel of the original under a mask that hides a part, or draws another picture: what one sees is not what
    was compared."""
    released = sealed(engine(installation), picture(tmp_path, 1))
    alpha = np.full((released_size(released.file)), 255, np.uint8)
    alpha[60:200, 60:260] = 0
    finding = installation.verifier().verify(stripped(released.file, tmp_path / "copy.png", alpha))
    assert finding.finding == "altered"
    assert finding.regions


def released_size(file: Path) -> tuple[int, int]:
    with Image.open(file) as opened:
        return opened.height, opened.width


def test_a_transparent_original_is_still_recovered(installation: Installation, tmp_path: Path) -> None:
    rgb = scene(4)
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[:100, :200] = 0
    source = tmp_path / "logo.png"
    Image.fromarray(np.dstack([rgb, alpha])).save(source)
    released = sealed(engine(installation), source)
    finding = installation.verifier().verify(stripped(released.file, tmp_path / "copy.png", alpha))
    assert finding.finding == "recovered"
    assert any("transparent in parts" in e.detail for e in finding.evidence)


def clip(path: Path, *tracks: list[np.ndarray]) -> Path:
    """Each of ``tracks`` as a picture track of its own."""
    with av.open(str(path), "w") as container:
        streams = []
        for frames in tracks:
            stream = container.add_stream("libx264", rate=12)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt, stream.options = "yuv420p", {"crf": "16"}
            streams.append(stream)
        for stream, frames in zip(streams, tracks, strict=True):
            for number, rgb in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


def moving(seed: int, count: int = 36) -> list[np.ndarray]:
    wide = scene(seed, 400, 320)
    return [wide[:, n : n + 320] for n in range(count)]


def test_a_second_picture_track_is_not_recovered(installation: Installation, tmp_path: Path) -> None:
    """The original's track first, and another film behind it: many players show the other one."""
    released = sealed(engine(installation), clip(tmp_path / "in.mp4", moving(1)))
    frames = [f.rgb for f in open_media(released.file).frames()]
    alone = installation.verifier().verify(clip(tmp_path / "alone.mp4", frames))
    assert alone.finding == "recovered", "control"
    assert any("between them" in line for line in alone.telling().not_conclude), "a clip is compared at some moments"
    finding = installation.verifier().verify(clip(tmp_path / "two.mp4", frames, [scene(9, 320, 320)] * len(frames)))
    assert finding.finding == "altered"
    assert any("further tracks" in e.detail for e in finding.evidence)


def test_a_sound_that_nobody_compared_is_not_called_a_copy(installation: Installation, tmp_path: Path) -> None:
    """Half of it exchanged: the mark in the rest is beyond doubt, and the answer said "This is a copy of the original",
    "the content was compared"."""
    released = sealed(engine(installation), sound(tmp_path, 1))
    forged = tmp_path / "forged.wav"
    with wave.open(str(released.file), "rb") as made:
        data, form = made.readframes(made.getnframes()), made.getparams()
    with wave.open(str(sound(tmp_path, 9)), "rb") as other:
        half = other.readframes(other.getnframes())[len(data) * 3 // 4 :]
    with wave.open(str(forged), "wb") as out:
        out.setparams(form)
        out.writeframes(data[: len(data) - len(half)] + half)
    finding = installation.verifier().verify(forged)
    assert finding.finding == "recovered"
    words_said = " ".join([*finding.telling().explanation, *finding.telling().conclude, finding.telling().meaning])
    assert "is a copy of" not in words_said
    assert "content was compared" not in words_said
    assert "content compared is the same" not in words_said
    assert any("exchanged" in line for line in finding.telling().not_conclude)


# ── answers that break whoever shows them ────────────────────────────────────────────────────────────────────────
def told(**changes: Any) -> Finding:
    return Finding("f.jpg", "intact", None, "none", None, (Evidence("metadata", "ok", "x"),), 0.1, **changes)


def diamonds(steps: int) -> dict[str, Any]:
    """Each step is made from both parts of the next: 2^steps ways lead to the last one."""
    names = ["m0", *(f"{side}{n}" for n in range(1, steps) for side in "ab")]
    nodes = [{"id": n, "title": n, "kind": "manifest", "state": "valid", "actions": [], "failures": []} for n in names]
    edges = [
        {"from": name, "to": f"{side}{number + 1}", "relationship": "parentOf"}
        for number in range(steps - 1)
        for name in (["m0"] if number == 0 else [f"a{number}", f"b{number}"])
        for side in "ab"
    ]
    return {"nodes": nodes, "edges": edges, "truncated": False}


def test_a_report_tells_each_part_of_a_history_once() -> None:
    """Sixty manifests that share their parts would fill the memory of whoever asks for a report."""
    page = report([told(history=diamonds(30))], [], words("en"))
    assert len(page) < 200_000


def test_a_report_is_written_whatever_a_file_is_called(tmp_path: Path) -> None:
    """One file with a name in another encoding, and nothing is said of all the others in the folder."""
    target = tmp_path / "report.html"
    write_report(target, [replace(told(), file="bad\udcff.jpg")], [], "en")
    assert "bad\ufffd.jpg" in target.read_text("utf-8")


@pytest.mark.skipif(not available().whole, reason="this kernel cannot confine a process")
def test_half_a_character_in_a_label_does_not_end_the_answer(tmp_path: Path) -> None:
    """JSON in a label can spell what no page and no terminal can be sent: the service answered 500."""
    path, chunks = tmp_path / "half.png", PngImagePlugin.PngInfo()
    chunks.add_text("AIGC", '{"Label": "1", "ContentProducer": "\\ud800"}')
    Image.fromarray(scene(3)).save(path, pnginfo=chunks)
    with IsolatedVerifier(Config()) as isolated:
        finding = isolated.verify(path)
    assert any(e.technique == "label" for e in finding.evidence)
    json.dumps(finding.as_dict(), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"signer": {"a": 1}}, {"made_by": []}, {"history": {"nodes": [{}], "edges": []}}, {"history": []}, {"record": "x"},
        {"history": {"nodes": [], "edges": [{"from": 1}]}}, {"media": {"width": "1"}}, {"time": 5}, {"evidence": "x"},
        {"regions": [{"left": "a", "top": 0, "right": 1, "bottom": 1}]},
    ],
)  # fmt: skip
def test_a_finding_out_of_form_is_none(changes: dict[str, Any]) -> None:
    """A reader that was taken over may answer anything: one odd field would end the check of a whole folder."""
    good = finding_out(told())
    assert finding_in(good, Path("f.jpg"), 0.1, None).finding == "intact", "control"
    with pytest.raises(ValueError, match="no finding"):
        finding_in(good | changes, Path("f.jpg"), 0.1, None)
