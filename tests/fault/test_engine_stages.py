"""Each stage in turn is made to fail. Nothing is released, the error has a code, and the log says how it ended."""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filigrana.errors import FiligranaError
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.finish import Finisher
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.ledger import Ledger
from filigrana.pipeline.request import GenerateRequest, Held, Release, SealRequest
from filigrana.pipeline.run import StageError
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.store import FolderStore
from filigrana.provenance.catalog import Catalog
from filigrana.provenance.database import session
from filigrana.provenance.media import Frame, encode_picture
from filigrana.provenance.signers import FileSigner
from filigrana.provenance.tables import Asset
from filigrana.provenance.timestamps import loopback_tsa
from filigrana.provenance.watermark.base import Detection
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.doubles import (
    Failing,
    FakeCodec,
    FakeGenerator,
    FakeGuard,
    calm,
    failing_tsa,
    quiet_classifier,
    scene,
)

REQUEST = GenerateRequest("a red sailboat on a blue sea", seed=7)
SHORT = 0.4
"""Seconds that a stage gets where it is made to hang."""

TELLS_END = {"failed", "held", "refused", "abandoned"}


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


class House:
    """An installation and what stands in it after a request."""

    def __init__(self, installation: Installation, make_engine: MakeEngine) -> None:
        self.installation, self._make = installation, make_engine

    def make(self, **parts: Any) -> Engine:
        small = FakeGenerator(fault=lambda sampling, _progress: (Frame(scene(sampling.seed, 320, 320)),))
        return self._make(**{"generator": small, **parts})

    def entries(self) -> list[dict[str, Any]]:
        return [entry for _, entry in self.installation.log.entries()]

    def finisher(self, **changes: Any) -> Callable[[], Finisher]:
        return lambda: replace(self.installation.finisher(), **changes)

    def assert_nothing_came_of_it(self, end: set[str] = TELLS_END) -> dict[str, Any]:
        """The last entry, which ends the one request that there was."""
        data = self.installation.folder
        assert files(data / "assets") == []
        assert [p for p in files(data / "staging") if p.name != ".gate"] == []
        with session(self.installation.log.engine) as rows:
            assert rows.query(Asset).count() == 0
        entries = self.entries()
        types = [entry["type"] for entry in entries]
        assert types[0] == "intent"
        assert types[-1] in end
        assert "release" not in types
        assert self.installation.ledger.unfinished() == []
        assert self.installation.log.verify().ok
        return entries[-1]

    def assert_fails(self, engine: Engine, code: str | None = None, request: GenerateRequest = REQUEST) -> None:
        with pytest.raises(FiligranaError) as caught:
            engine.generate(request)
        assert caught.value.code.count(".") >= 1
        if code is not None:
            assert caught.value.code == code
        last = self.assert_nothing_came_of_it({"failed", "abandoned"})
        assert last["code"] == caught.value.code
        self.assert_releases(self.make())

    def assert_held(self, engine: Engine, code: str) -> None:
        outcome = engine.generate(REQUEST)
        assert isinstance(outcome, Held)
        assert outcome.code == code
        assert self.assert_nothing_came_of_it({"held"})["code"] == code
        self.assert_releases(self.make())

    def assert_releases(self, engine: Engine) -> Release:
        """The negative control: the same house without the fault."""
        outcome = engine.generate(REQUEST)
        assert isinstance(outcome, Release)
        assert files(self.installation.folder / "assets") == [outcome.file]
        assert [p for p in files(self.installation.folder / "staging") if p.name != ".gate"] == []
        with session(self.installation.log.engine) as rows:
            record = Catalog(rows).by_asset_id(outcome.asset_id)
        assert record is not None
        assert self.entries()[outcome.log.index]["type"] == "release"
        return outcome


@pytest.fixture
def installation(tmp_path: Path, furnished: Path) -> Iterator[Installation]:
    shutil.copytree(furnished, tmp_path / "data")
    opened = Installation(load_settings(data_dir=tmp_path / "data"))
    yield opened
    opened.close()


@pytest.fixture
def house(installation: Installation, make_engine: MakeEngine) -> House:
    return House(installation, make_engine)


# ── judge prompt ─────────────────────────────────────────────────────────────────────────────────────────────────
BAD_ANSWERS: dict[str, Callable[..., Any]] = {
    "raise": Failing("raise"),
    "nan": Failing("nan"),
    "none": Failing("empty"),
    "no scores": dict,
    "infinite": lambda: {"sxc": float("inf")},
    "above one": lambda: {"sxc": 1.5},
    "below zero": lambda: {"sxc": -0.1},
    "words": lambda: {"sxc": "high"},
    "no hazard of ours": lambda: {"weather": 0.1},
    "a list": lambda: [0.1, 0.2],
    "exit": lambda: (_ for _ in ()).throw(SystemExit(0)),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_a_prompt_guard_that_does_not_answer_holds_the_request(house: House, answer: str) -> None:
    guard = FakeGuard("classifier", fault=BAD_ANSWERS[answer])
    house.assert_held(house.make(text_guards=[guard]), "prompt.guard_failed")


def test_a_prompt_guard_that_hangs_holds_the_request(house: House) -> None:
    guard = FakeGuard("classifier", fault=Failing("hang"))
    started = time.perf_counter()
    engine = house.make(text_guards=[guard], guard_timeout=SHORT)
    outcome = engine.generate(REQUEST)
    assert isinstance(outcome, Held)
    assert time.perf_counter() - started < 10
    house.assert_nothing_came_of_it({"held"})


def test_a_prompt_guard_that_answers_lets_the_request_pass(house: House) -> None:
    house.assert_releases(house.make(text_guards=[quiet_classifier()]))


class NamelessGuard(FakeGuard):
    @property  # type: ignore[override]
    def name(self) -> str:
        raise RuntimeError("told to fail")

    @name.setter
    def name(self, _value: str) -> None: ...


def test_a_guard_that_fails_before_it_is_asked_stops_the_request(house: House) -> None:
    house.assert_fails(house.make(text_guards=[NamelessGuard()]), "engine.judge_prompt")


# ── generate ─────────────────────────────────────────────────────────────────────────────────────────────────────
BAD_FRAMES: dict[str, Callable[..., Any]] = {
    "raise": Failing("raise"),
    "no frames": Failing("empty"),
    "out of memory": lambda *_: (_ for _ in ()).throw(MemoryError()),
    "exit": lambda *_: (_ for _ in ()).throw(SystemExit(0)),
    "interrupt in its thread": lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()),
    "floats": lambda *_: (Frame(np.full((512, 512, 3), np.nan)),),
    "grey": lambda *_: (Frame(np.zeros((512, 512), np.uint8)),),
    "alpha": lambda *_: (Frame(np.zeros((512, 512, 4), np.uint8)),),
    "no pixels": lambda *_: (Frame(np.zeros((0, 0, 3), np.uint8)),),
    "too small for a mark": lambda *_: (Frame(scene(1, 128, 128)),),
    "no array": lambda *_: (Frame([[0, 0, 0]]),),  # type: ignore[arg-type]
    "no frame": lambda *_: ("picture",),
}


@pytest.mark.parametrize("frames", BAD_FRAMES)
def test_a_generator_that_gives_no_picture(house: House, frames: str) -> None:
    house.assert_fails(house.make(generator=FakeGenerator(fault=BAD_FRAMES[frames])))


def test_a_generator_that_gives_nothing_at_all(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = FakeGenerator()
    monkeypatch.setattr(generator, "generate", lambda *_: None)
    house.assert_fails(house.make(generator=generator))


def test_a_generator_that_hangs(house: House) -> None:
    house.assert_fails(
        house.make(generator=FakeGenerator(fault=Failing("hang")), stage_timeout=SHORT), "engine.timeout"
    )


def test_a_generator_that_comes_back_after_its_time_changes_nothing(house: House) -> None:
    back = threading.Event()

    def late(*_: Any) -> Any:
        time.sleep(2 * SHORT)
        back.set()
        return (Frame(scene(1)),)

    with pytest.raises(FiligranaError):
        house.make(generator=FakeGenerator(fault=late), stage_timeout=SHORT).generate(REQUEST)
    assert back.wait(10)
    time.sleep(0.2)
    house.assert_nothing_came_of_it({"failed"})


def test_frames_that_can_be_read_only_once_are_not_released_unjudged(house: House) -> None:
    engine = house.make(generator=FakeGenerator(fault=lambda *_: iter([Frame(scene(1))])))
    with contextlib.suppress(FiligranaError):
        assert isinstance(engine.generate(REQUEST), Held)
    house.assert_nothing_came_of_it()


def test_a_choice_by_a_number_that_is_none(house: House) -> None:
    request = replace(REQUEST, best_of=2)
    house.assert_fails(house.make(agreement=lambda *_: float("nan")), "generate.best_of", request)


def test_a_generator_whose_model_cannot_be_named_is_not_asked(house: House) -> None:
    class Unknown(FakeGenerator):
        @property  # type: ignore[override]
        def model(self) -> Any:
            raise RuntimeError("told to fail")

        @model.setter
        def model(self, _value: Any) -> None: ...

    with pytest.raises(StageError, match="load"):
        house.make(generator=Unknown()).generate(REQUEST)
    assert house.entries() == []


# ── judge output ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_an_output_guard_that_does_not_answer_holds_the_request(house: House, answer: str) -> None:
    guards = [FakeGuard("nsfw", fault=BAD_ANSWERS[answer]), *calm("nsfw")]
    house.assert_held(house.make(frame_guards=lambda _generated: guards), "output.guard_failed")


def test_an_output_guard_that_hangs_holds_the_request(house: House) -> None:
    guards = [FakeGuard("nsfw", fault=Failing("hang")), *calm("nsfw")]
    house.assert_held(house.make(frame_guards=lambda _generated: guards, guard_timeout=SHORT), "output.guard_failed")


def test_an_output_guard_that_is_missing_holds_the_request(house: House) -> None:
    house.assert_held(house.make(frame_guards=lambda _generated: [FakeGuard("nsfw")]), "output.guard_failed")


def test_no_output_guard_at_all_holds_the_request(house: House) -> None:
    house.assert_held(house.make(frame_guards=lambda _generated: []), "output.guard_failed")


def test_output_guards_that_cannot_be_loaded_stop_the_request(house: House) -> None:
    house.assert_fails(house.make(frame_guards=Failing("raise")), "engine.judge_output")


def test_a_guard_that_answers_once_and_then_fails_has_failed(house: House) -> None:
    """The second frame of a clip; the first was fine."""
    answers = iter([{"sxc": 0.01}])
    guard = FakeGuard("nsfw", fault=lambda: next(answers))
    frames = (Frame(scene(1)), Frame(scene(2)), Frame(scene(3)))
    engine = house.make(
        generator=FakeGenerator(fault=lambda *_: frames),
        frame_guards=lambda _generated: [guard, *calm("nsfw")],
    )
    house.assert_held(engine, "output.guard_failed")


# ── label, mark, encode ──────────────────────────────────────────────────────────────────────────────────────────
EMBEDDINGS: dict[str, Callable[..., Any]] = {
    "raise": Failing("raise"),
    "no frames": Failing("empty"),
    "does nothing": lambda frames, _id: frames,
    "another picture's size": lambda frames, _id: (frame[:300, :300] for frame in frames),
    "nan": lambda frames, _id: (np.full(frame.shape, np.nan) for frame in frames),
    "empty picture": lambda frames, _id: (frame[:0] for frame in frames),
}


@pytest.mark.parametrize("how", EMBEDDINGS)
def test_a_codec_that_does_not_mark(house: House, how: str) -> None:
    codec = FakeCodec(embed=EMBEDDINGS[how])
    house.assert_fails(house.make(finisher=house.finisher(codec=codec)))


def test_a_codec_that_hangs(house: House) -> None:
    codec = FakeCodec(embed=Failing("hang"))
    house.assert_fails(house.make(finisher=house.finisher(codec=codec), stage_timeout=SHORT), "engine.timeout")


# ── sign ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class BadSigner:
    def __init__(self, real: FileSigner, answer: Callable[[bytes], Any], chain: str | None = None) -> None:
        self._answer, self.chain_pem = answer, real.chain_pem if chain is None else chain

    def sign(self, data: bytes) -> Any:
        return self._answer(data)


SIGNATURES: dict[str, Callable[[bytes], Any]] = {
    "raise": Failing("raise"),
    "nothing": lambda _data: b"",
    "none": Failing("empty"),
    "not a signature": lambda _data: b"\x30\x06\x02\x01\x01\x02\x01\x01",
    "a megabyte": lambda _data: b"\xff" * (1 << 20),
    "text": lambda _data: "signed",
}


@pytest.mark.parametrize("how", SIGNATURES)
def test_a_signer_that_does_not_sign(house: House, how: str) -> None:
    signer = BadSigner(house.installation.finisher().signer, SIGNATURES[how])  # type: ignore[arg-type]
    house.assert_fails(house.make(finisher=house.finisher(signer=signer)))


def test_a_signer_with_somebody_elses_key(house: House, tmp_path: Path) -> None:
    from filigrana.provenance.keys import KeyStore

    stranger = KeyStore(tmp_path / "stranger")
    stranger.ensure()
    house.assert_fails(
        house.make(finisher=house.finisher(signer=FileSigner(stranger.claim()))), "provenance.readback.signature"
    )


def test_a_signer_that_hangs(house: House) -> None:
    signer = BadSigner(house.installation.finisher().signer, Failing("hang"))  # type: ignore[arg-type]
    house.assert_fails(house.make(finisher=house.finisher(signer=signer), stage_timeout=2.0), "engine.timeout")


# ── time-stamp ───────────────────────────────────────────────────────────────────────────────────────────────────
@contextlib.contextmanager
def server(answer: bytes | None) -> Iterator[str]:
    """An authority that answers every request with the same bytes, or accepts and never answers (None)."""
    import socket

    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)

        def run() -> None:
            kept = []
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listening.accept()
                    kept.append(connection)
                    if answer is not None:
                        connection.recv(1 << 16)
                        connection.sendall(answer)
                        connection.close()
            for connection in kept:
                connection.close()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            stop.set()
            thread.join(5)


def http(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/timestamp-reply\r\nContent-Length: {len(body)}\r\n"
    return (head + "Connection: close\r\n\r\n").encode() + body


TSA_ANSWERS = {
    "server error": http("500 Internal Server Error", b""),
    "empty": http("200 OK", b""),
    "not DER": http("200 OK", b"time flies"),
    "rejection": http("200 OK", bytes.fromhex("30073005020102a100")),
    "not HTTP": b"\x00\x01\x02\x03",
    "closed": b"",
}


@pytest.mark.parametrize("how", TSA_ANSWERS)
def test_a_time_stamp_authority_that_gives_no_time(house: House, how: str) -> None:
    house.assert_fails(house.make(finisher=house.finisher(tsa=lambda: server(TSA_ANSWERS[how]))))


def test_a_time_stamp_authority_that_nobody_answers_at(house: House) -> None:
    house.assert_fails(house.make(finisher=house.finisher(tsa=failing_tsa)))


def test_a_time_stamp_authority_that_hangs(house: House) -> None:
    house.assert_fails(
        house.make(finisher=house.finisher(tsa=lambda: server(None)), stage_timeout=2.0), "engine.timeout"
    )


def test_a_time_stamp_of_an_authority_that_nobody_trusts(house: House, tmp_path: Path) -> None:
    from filigrana.provenance.keys import KeyStore

    stranger = KeyStore(tmp_path / "stranger")
    stranger.ensure()
    house.assert_fails(
        house.make(finisher=house.finisher(tsa=lambda: loopback_tsa(stranger.tsa()))), "provenance.readback.timestamp"
    )


def test_an_authority_that_cannot_be_reached_for(house: House) -> None:
    @contextlib.contextmanager
    def broken() -> Iterator[str]:
        raise RuntimeError("told to fail")
        yield ""

    house.assert_fails(house.make(finisher=house.finisher(tsa=broken)), "engine.sign")


# ── read back ────────────────────────────────────────────────────────────────────────────────────────────────────
def detection(score: float, found: bool) -> Callable[..., Any]:
    def detect(_frames: Any) -> Detection:
        from filigrana.provenance.identity import AssetId

        return Detection(AssetId.random() if found else None, score, 0.0, None, 0.0)

    return detect


DETECTIONS: dict[str, Callable[..., Any]] = {
    "raise": Failing("raise"),
    "none": Failing("empty"),
    "no mark": detection(2.0, False),
    "another asset's mark": detection(99.0, True),
    "nan": Failing("nan"),
}


@pytest.mark.parametrize("how", DETECTIONS)
def test_a_mark_that_cannot_be_read_back(house: House, how: str) -> None:
    house.assert_fails(house.make(finisher=house.finisher(codec=FakeCodec(detect=DETECTIONS[how]))))


def test_the_right_mark_with_a_score_that_is_no_number(house: House) -> None:
    real = house.installation.finisher().codec

    def detect(frames: Any) -> Detection:
        return replace(real.detect(frames), score=float("nan"))

    house.assert_fails(house.make(finisher=house.finisher(codec=FakeCodec(detect=detect))))


def test_a_read_back_that_hangs(house: House) -> None:
    codec = FakeCodec(detect=Failing("hang"))
    house.assert_fails(house.make(finisher=house.finisher(codec=codec), stage_timeout=2.0), "engine.timeout")


def altered(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "one bit": altered,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-5000]),
    "emptied": lambda path: path.write_bytes(b""),
    "removed": lambda path: path.unlink(),
    "another file": lambda path: path.write_bytes(encode_picture(scene(3), "image/png")),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_file_that_changes_between_signing_and_reading_back(
    house: House, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    read_back = Finisher.read_back

    def damaged(self: Finisher, path: Path, *rest: Any) -> Any:
        DAMAGE[how](path)
        return read_back(self, path, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Finisher, "read_back", damaged)
        engine = house.make()
        with pytest.raises(FiligranaError):
            engine.generate(REQUEST)
    house.assert_nothing_came_of_it({"failed"})
    house.assert_releases(house.make())


# ── record, release ──────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("method", ["result", "release", "decided"])
@pytest.mark.parametrize("error", [RuntimeError("told to fail"), OSError(28, "No space left on device")])
def test_a_ledger_that_does_not_write(
    house: House, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, method, broken)
        with pytest.raises(FiligranaError):
            house.make().generate(REQUEST)
    house.assert_nothing_came_of_it({"failed"})
    house.assert_releases(house.make())


def test_a_ledger_that_cannot_even_open_the_request(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Catalog, "draw_asset_id", Failing("raise"))
        with pytest.raises(FiligranaError) as caught:
            house.make().generate(REQUEST)
    assert caught.value.code == "engine.open_intent"
    assert house.entries() == []
    assert [p for p in files(house.installation.folder / "staging") if p.name != ".gate"] == []
    house.assert_releases(house.make())


@pytest.mark.parametrize("table", ["assets", "log_entries", "manifests", "previews", "bindings"])
def test_a_release_is_whole_or_not_at_all(house: House, table: str) -> None:
    """The database itself refuses one row of the release: none of its other rows stays."""
    from sqlalchemy import inspect, text

    engine = house.make()
    names = inspect(house.installation.log.engine).get_table_names()
    assert table in names
    found = table
    when = "WHEN (SELECT COUNT(*) FROM intents WHERE state = 'released') > 0" if found == "log_entries" else ""
    with house.installation.log.engine.begin() as connection:
        connection.execute(
            text(
                f"CREATE TRIGGER broken BEFORE INSERT ON {found} {when} BEGIN SELECT RAISE(ABORT, 'told to fail'); END"
            )
        )
    with pytest.raises(FiligranaError):
        engine.generate(REQUEST)
    with house.installation.log.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER broken"))
    house.assert_nothing_came_of_it({"failed"})
    house.assert_releases(house.make())


def test_a_released_request_is_not_released_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    released = Ledger.release
    calls: list[int] = []

    def twice(self: Ledger, *arguments: Any, **named: Any) -> int:
        index = released(self, *arguments, **named)
        with pytest.raises(FiligranaError) as caught:
            released(self, *arguments, **named)
        assert caught.value.code in ("release.state", "release.twice")
        calls.append(index)
        return index

    monkeypatch.setattr(Ledger, "release", twice)
    house.assert_releases(house.make())
    assert len(calls) == 1
    assert [e["type"] for e in house.entries()].count("release") == 1


# ── publish ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("error", [RuntimeError("told to fail"), OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_release_that_cannot_be_published_is_published_by_the_next_start(
    house: House, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """The release stands in the log by then, so its file must not be lost: it stays unpublished until it can be."""

    def broken(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(FolderStore, "publish", broken)
        with pytest.raises((FiligranaError, KeyboardInterrupt)):
            house.make().generate(REQUEST)
    assets = house.installation.folder / "assets"
    assert files(assets) == []
    assert house.entries()[-1]["type"] == "release"
    recovered = house.make().recover()
    assert len(recovered.published) == 1
    assert recovered.abandoned == ()
    assert [str(path.relative_to(assets)) for path in files(assets)] == list(recovered.published)
    assert house.make().recover().published == ()
    with session(house.installation.log.engine) as rows:
        record = Catalog(rows).by_sha256(bytes.fromhex(house.entries()[-1]["sha256"]))
    assert record is not None
    assert record.public_name == recovered.published[0]
    assert [p for p in files(house.installation.folder / "staging") if p.name != ".gate"] == []


def test_a_checkpoint_that_cannot_be_signed_keeps_the_file_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that was tampered with says so before anything new appears in public."""
    from filigrana.errors import TamperError
    from filigrana.provenance.log.sequencer import AuditLog

    def broken(*_: Any) -> str:
        raise TamperError("told to fail")

    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "checkpoint", broken)
        with pytest.raises(TamperError):
            house.make().generate(REQUEST)
        assert files(house.installation.folder / "assets") == []
    assert len(house.make().recover().published) == 1


# ── Ctrl-C ───────────────────────────────────────────────────────────────────────────────────────────────────────
STAGES = ["judge prompt", "generate", "judge output", "digest", "encode", "sign", "read back", "record", "release"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_at_any_stage_ends_the_request(house: House, stage: str, error: type[BaseException]) -> None:
    def progress(name: str, done: int, total: int) -> None:
        if name == stage and (done, total) == (0, 0):
            raise error

    with pytest.raises(error):
        house.make().generate(REQUEST, progress)
    assert house.assert_nothing_came_of_it({"abandoned"})["code"] == "engine.interrupted"


@pytest.mark.parametrize("stage", STAGES)
def test_a_progress_display_that_breaks_at_any_stage(house: House, stage: str) -> None:
    def progress(name: str, done: int, _total: int) -> None:
        if name == stage and done == 0:
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(FiligranaError):
        house.make().generate(REQUEST, progress)
    house.assert_nothing_came_of_it({"failed"})


def test_an_interrupt_after_the_release_was_committed_loses_nothing(house: House) -> None:
    def progress(name: str, done: int, _total: int) -> None:
        if name == "release" and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        house.make().generate(REQUEST, progress)
    assert house.entries()[-1]["type"] == "release"
    assert len(house.make().recover().published) == 1


# ── the log is out of reach ──────────────────────────────────────────────────────────────────────────────────────
def test_the_first_error_is_shown_when_the_log_cannot_be_written_either(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the request is ended by the next start."""
    from sqlalchemy.exc import OperationalError

    engine = house.make(generator=FakeGenerator(fault=Failing("raise")))

    def broken(*_: Any, **__: Any) -> Any:
        raise OperationalError("SELECT", {}, Exception("disk I/O error"))

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "state", broken)
        patched.setattr(Ledger, "row", broken)
        with pytest.raises(FiligranaError) as caught:
            engine.generate(REQUEST)
    assert caught.value.code == "engine.generate"
    assert len(house.make().recover().abandoned) == 1
    house.assert_nothing_came_of_it({"abandoned"})


@pytest.mark.parametrize("broken_part", ["clock", "store"])
def test_a_part_that_breaks_between_the_stages(house: House, broken_part: str) -> None:
    class BadStore(FolderStore):
        def name(self, *_: Any) -> str:
            raise RuntimeError("told to fail")

    def clock() -> dt.datetime:
        raise RuntimeError("told to fail")

    part: Any = clock if broken_part == "clock" else BadStore(house.installation.folder / "assets")
    house.assert_fails(house.make(**{broken_part: part}))


# ── seal ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(encode_picture(scene(5), "image/png"))
    return path


def test_sealing_fails_closed_too(house: House, picture: Path) -> None:
    request = SealRequest(picture, "camera")
    engine = house.make(frame_guards=lambda _generated: [FakeGuard("nsfw", fault=Failing("raise"))])
    assert isinstance(engine.seal(request), Held)
    house.assert_nothing_came_of_it({"held"})
    assert isinstance(house.make().seal(request), Release)


def test_what_was_judged_is_what_is_sealed(house: House, picture: Path) -> None:
    """Somebody puts another picture under the same name after the guards have looked."""
    other = encode_picture(scene(6), "image/png")
    judged: list[Any] = []

    class Watching(FakeGuard):
        def score(self, subject: Any) -> Any:
            judged.append(subject.copy())
            picture.write_bytes(other)
            return {"sxc": 0.01}

    engine = house.make(frame_guards=lambda _generated: [Watching("nsfw"), *calm("nsfw", "clip", "ocr")])
    try:
        outcome = engine.seal(SealRequest(picture, "camera"))
    except FiligranaError:
        house.assert_nothing_came_of_it({"failed"})
        return
    assert isinstance(outcome, Release)
    from filigrana.provenance.media import open_media

    sealed = next(open_media(outcome.file).frames()).rgb
    assert np.abs(sealed.astype(int) - judged[0]).mean() < 5
