"""The chain as a whole on both databases: one id everywhere, no prompt in the log, proofs that verify offline."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.parts import Parts
from filigrana.pipeline.request import GenerateRequest, Held, Refusal, Release, SealRequest
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.catalog import Catalog
from filigrana.provenance.credentials import read_credentials
from filigrana.provenance.database import session
from filigrana.provenance.labels import read_label
from filigrana.provenance.log.note import VerifierKey
from filigrana.provenance.log.proof import LogProof
from filigrana.provenance.media import encode_picture, read_xmp
from filigrana.provenance.watermark.dft import ALG, Dft
from filigrana.tests.doubles import FakeGenerator, calm, quiet_classifier, scene

PROMPT = "a very particular red sailboat"
MakeEngine = Callable[..., Engine]


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> Installation:
    return Installation(load_settings(data_dir=tmp_path / "data", database=database_url))


def engine(house: Installation) -> Engine:
    return Engine(
        Parts(
            ledger=house.ledger,
            pack=house.pack,
            generator=FakeGenerator(),
            text_guards=(quiet_classifier(),),
            frame_guards=lambda _: calm(),
            finisher=house.finisher,
            staging=house.staging,
            store=house.store,
            clock=house.clock,
        )
    )


def test_one_id_is_everywhere_and_the_prompt_is_nowhere(house: Installation) -> None:
    release = engine(house).generate(GenerateRequest(PROMPT, seed=11))
    assert isinstance(release, Release)
    ident = release.asset_id
    # the name, the pixels, the manifest, the metadata, the log, the catalog
    assert release.file.name == f"{ident}.png"
    from filigrana.provenance.media import open_media

    media = open_media(release.file)
    assert Dft().detect(media.frames()).asset_id == ident
    credentials = read_credentials(release.file, "image/png", house.trust)
    assert credentials.soft_bindings == ((ALG, str(ident)),)
    assert credentials.record is not None
    assert credentials.record["assetId"] == str(ident)
    assert read_label(read_xmp(release.file, "image/png") or "").asset_id == str(ident)
    assert house.log.entry(release.log.index)["asset_id"] == str(ident)
    with session(house.log.engine) as rows:
        record = Catalog(rows).by_binding(ALG, str(ident))[0]
    assert (record.asset_id, record.sha256.hex(), record.log_index) == (ident, release.sha256, release.log.index)
    # no prompt
    assert PROMPT not in "".join(str(entry) for _, entry in house.log.entries())
    assert PROMPT.encode() not in release.file.read_bytes()
    assert house.verifier().verify(release.file).finding == "verified"
    assert house.log.verify().ok
    house.close()


def test_the_proof_beside_the_asset_verifies_with_the_key_alone(house: Installation) -> None:
    release = engine(house).generate(GenerateRequest(PROMPT, seed=11))
    assert isinstance(release, Release)
    text, key = house.log.prove(release.log.index, embed_entry=True), str(house.log.keys[0])
    proof = LogProof.parse(text)
    assert proof.verify([VerifierKey.parse(key)]).size > release.log.index
    assert release.sha256.encode() in (proof.extra or b"")
    house.close()


def test_steps_stand_in_the_log_in_their_order(house: Installation) -> None:
    engine(house).generate(GenerateRequest(PROMPT, seed=11))
    types = [entry["type"] for _, entry in house.log.entries()]
    assert types == ["intent", "decision", "decision", "result", "release"]
    house.close()


def test_several_threads_release_apart(house: Installation) -> None:
    """Each gets an id, a file and an entry of its own; the log stays dense and whole."""
    shared, outcomes = engine(house), []

    def work(seed: int) -> None:
        outcomes.append(shared.generate(GenerateRequest(PROMPT, seed=seed)))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({o.asset_id for o in outcomes if isinstance(o, Release)}) == 4
    report = house.log.verify()
    assert report.ok
    assert report.entries == 20
    house.close()


def test_the_same_pixels_twice_are_two_assets(make_engine: MakeEngine) -> None:
    one, two = (make_engine().generate(GenerateRequest(PROMPT, seed=1)) for _ in range(2))
    assert isinstance(one, Release)
    assert isinstance(two, Release)
    assert one.asset_id != two.asset_id
    assert one.sha256 != two.sha256


def test_a_refusal_says_why_and_is_recorded(make_engine: MakeEngine, installation: Installation) -> None:
    outcome = make_engine().generate(GenerateRequest("glorious swastika rally poster"))
    assert isinstance(outcome, Refusal)
    assert not isinstance(outcome, Held)
    assert outcome.code == "prompt.hte"
    assert outcome.decision.reasons
    last = installation.log.entry(installation.log.size() - 1)
    assert (last["type"], last["code"], last["intent"]) == ("refused", "prompt.hte", outcome.intent)


def test_held_work_waits_and_releases_nothing(make_engine: MakeEngine, installation: Installation) -> None:
    outcome = make_engine().generate(GenerateRequest("a portrait of Angela Merkel"))
    assert isinstance(outcome, Held)
    assert installation.log.entry(installation.log.size() - 1)["type"] == "held"
    assert not list((installation.folder / "assets").rglob("*.png"))


def test_a_rewrite_is_used_only_when_its_author_accepts_it(make_engine: MakeEngine, installation: Installation) -> None:
    offered = make_engine().generate(GenerateRequest("a castle by Banksy"))
    assert isinstance(offered, Refusal)
    assert offered.decision.rewrite is not None
    generator = FakeGenerator()
    accepted = make_engine(generator=generator).generate(
        GenerateRequest("a castle by Banksy", accept_rewrite=offered.decision.rewrite.digest, seed=2)
    )
    assert isinstance(accepted, Release)
    assert generator.calls[0].prompt == offered.decision.rewrite.prompt
    assert "Banksy" not in "".join(str(entry) for _, entry in installation.log.entries())
    from filigrana.errors import PromptError

    with pytest.raises(PromptError):
        make_engine().generate(GenerateRequest("a castle by Banksy", accept_rewrite="0" * 16))


def test_a_published_prompt_is_in_the_file_only_on_request(make_engine: MakeEngine) -> None:
    released = make_engine(publish_prompt=True).generate(GenerateRequest(PROMPT, seed=3))
    assert isinstance(released, Release)
    assert PROMPT.encode() in released.file.read_bytes()


def test_best_of_keeps_the_sample_that_agrees_most(make_engine: MakeEngine) -> None:
    made = make_engine(agreement=lambda _prompt, frame: float(frame.mean() == scene(12).mean())).generate(
        GenerateRequest(PROMPT, seed=10, best_of=4)
    )
    assert isinstance(made, Release)
    assert made.details["seed"] == 12
    assert made.details["candidates"] == [
        {"seed": seed, "agreement": f"{float(seed == 12):.4f}"} for seed in (10, 11, 12, 13)
    ]
    from filigrana.pipeline.cli.output import release_rows

    assert dict(release_rows(made))["best of"].startswith("seed 12 1.000, ")


def test_the_agreement_of_a_clip_is_the_mean_over_its_first_middle_and_last_frame() -> None:
    from filigrana.pipeline.generators.base import Generated
    from filigrana.pipeline.making import _agreement
    from filigrana.provenance.media import Frame

    frames = tuple(Frame(np.full((8, 8, 3), level, np.uint8)) for level in (0, 99, 30, 99, 90))
    seen: list[float] = []

    def agrees(_prompt: str, rgb: Any) -> float:
        seen.append(float(rgb.mean()))
        return seen[-1]

    assert _agreement(agrees, "x", Generated("video", frames)) == pytest.approx(40.0)
    assert seen == [0, 30, 90]


@pytest.mark.parametrize("source_type", ["camera", "ai", "composite", "unknown"])
def test_seal_says_what_its_sealer_says_and_no_more(
    make_engine: MakeEngine, installation: Installation, tmp_path: Path, source_type: str
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode_picture(scene(8), "image/jpeg"))
    released = make_engine().seal(SealRequest(path, source_type))  # type: ignore[arg-type]
    assert isinstance(released, Release)
    credentials = read_credentials(released.file, "image/jpeg", installation.trust)
    assert credentials.actions == ("c2pa.opened", "c2pa.watermarked.bound")
    assert credentials.ingredients == ("parentOf",)
    data = released.file.read_bytes()
    assert (b"trainedAlgorithmicMedia" in data.replace(b"TrainedAlgorithmicMedia", b"trainedAlgorithmicMedia")) == (
        source_type in ("ai", "composite")
    )
    assert (b"c2pa.ai-disclosure" in data) == (source_type in ("ai", "composite"))


def test_two_installations_on_one_database_leave_each_other_s_work_alone(tmp_path: Path, database_url: str) -> None:
    first = Installation(load_settings(data_dir=tmp_path / "a", database=database_url))
    second = Installation(load_settings(data_dir=tmp_path / "b", database=database_url))
    intent = first.ledger.open("seal", {}, texts={}, subject="x", intent_id=__import__("uuid").uuid4())
    assert engine(second).recover().abandoned == ()
    assert first.ledger.state(intent.id) == "open"
    assert engine(first).recover().abandoned == (intent.id,)
    assert replace(engine(first).recover(), published=()).abandoned == ()
    first.close()
    second.close()
