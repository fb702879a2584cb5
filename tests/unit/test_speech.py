"""Sound with a recogniser: what is said is judged as text, and what fails is looked at."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filigrana.errors import SafetyError
from filigrana.pipeline.request import Held, Refusal, Release, SealRequest
from filigrana.pipeline.soundtrack import speech_of
from filigrana.provenance.media import open_media
from filigrana.safety.decision import ModelRef, Verdict
from filigrana.safety.policy import load_pack
from filigrana.safety.sound import judge_sound
from filigrana.safety.speech import RATE, SECONDS, WhisperGuard, pieces
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.doubles import Failing, FakeGuard, quiet_classifier

NEWSROOM = load_pack("newsroom")


class FakeEar:
    """Hears what it is told to, a text for each piece."""

    name, model = "speech", ModelRef("double", "1", "0" * 64)

    def __init__(self, *texts: Any, fault: Any = None) -> None:
        self._texts, self._fault = texts, fault

    def transcribe(self, speech: Any) -> Iterator[Any]:
        for _ in speech:
            pass
        if self._fault is not None:
            yield self._fault()
        yield from self._texts


def judged(*texts: Any, **options: Any) -> Any:
    return judge_sound(NEWSROOM, FakeEar(*texts, **options), lambda: [np.zeros(10, np.float32)], timeout=0.5,
                       text_guards=[quiet_classifier()])  # fmt: skip


def test_what_is_said_is_judged_as_a_prompt_is() -> None:
    assert judged("and now to the weather").verdict is Verdict.ALLOW
    refused = judged("listen:", "this is how to", "build a pipe bomb")
    assert (refused.code, refused.verdict) == ("output.iwp", Verdict.BLOCK)
    assert refused.guards[0].guard == "speech"
    assert refused.guards[0].inputs == 3
    assert "pipe bomb" not in str(refused.record())


def test_silence_is_heard_and_allowed() -> None:
    assert judged("", "  ").verdict is Verdict.ALLOW


@pytest.mark.parametrize("fault", [Failing("raise"), Failing("hang"), Failing("nan"), lambda: b"text", lambda: 7])
def test_a_recogniser_that_fails_means_that_a_person_looks(fault: Any) -> None:
    assert judged("fine", fault=fault).code == "output.guard_failed"


def test_one_that_hears_nothing_at_all_has_failed() -> None:
    assert judged().code == "output.guard_failed"


def test_a_text_guard_that_fails_on_speech_means_that_a_person_looks() -> None:
    guards = [FakeGuard("classifier", fault=Failing("raise"))]
    decision = judge_sound(NEWSROOM, FakeEar("hello"), list, text_guards=guards)
    assert decision.code == "output.guard_failed"


def test_without_a_recogniser_the_pack_says_what_happens() -> None:
    assert judge_sound(NEWSROOM).verdict is Verdict.ALLOW
    assert judge_sound(load_pack("platform")).verdict is Verdict.REVIEW


# ── pieces ───────────────────────────────────────────────────────────────────────────────────────────────────────
@given(st.lists(st.integers(0, 20 * RATE), max_size=8))
def test_pieces_hold_every_sample_and_are_short(lengths: list[int]) -> None:
    total = sum(lengths)
    numbers = np.arange(total, dtype=np.float32) / max(1, total)
    ends = np.cumsum([0, *lengths])
    blocks = [numbers[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]  # noqa: RUF007
    made = list(pieces(blocks))
    assert all(0 < len(piece) <= SECONDS * RATE for piece in made)
    covered = np.unique(np.concatenate(made)) if made else np.empty(0)
    assert len(covered) == len(np.unique(numbers))


@pytest.mark.parametrize("block", [np.full(10, np.nan, np.float32), np.zeros((10, 2), np.float32)])
def test_what_is_no_sound_is_an_error(block: Any) -> None:
    with pytest.raises(SafetyError):
        list(pieces([block]))


def sound(path: Path, *channels: Any, rate: int = 44_100) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(len(channels))
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((np.stack(channels, axis=1) * 20_000).astype("<i2").tobytes())
    return path


def test_a_file_is_heard_in_mono_at_16_khz_and_nothing_hides_in_the_difference(tmp_path: Path) -> None:
    tone = np.sin(np.arange(44_100) * 2 * np.pi * 440 / 44_100)
    for name, right in (("same", tone), ("against", -tone)):
        heard = np.concatenate(list(speech_of(open_media(sound(tmp_path / f"{name}.wav", tone, right)))))
        assert abs(len(heard) - RATE) < 100
        assert 0.3 < float(np.sqrt((heard**2).mean())) < 0.6


# ── through the engine ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("ear", "kind", "code"),
    [
        (FakeEar("and now to the weather"), Release, None),
        (FakeEar("how to build a pipe bomb"), Refusal, "output.iwp"),
        (FakeEar(fault=Failing("raise")), Held, "output.guard_failed"),
    ],
)
def test_sealing_a_recording_listens_to_it(
    make_engine: MakeEngine, tmp_path: Path, ear: Any, kind: Any, code: Any
) -> None:
    rng = np.random.default_rng(0)
    path = sound(tmp_path / "talk.wav", rng.normal(0, 0.2, 88_200).clip(-1, 1))
    outcome = make_engine(sound_guard=ear).seal(SealRequest(path, "camera"))
    assert type(outcome) is kind
    if code is not None:
        assert outcome.code == code  # type: ignore[union-attr]


# ── a real model class ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whisper's own classes, tiny, with random weights."""
    torch = pytest.importorskip("torch", reason="needs the extra `generate`")
    from filigrana.pipeline.torch_compat import ready

    ready()
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    folder = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(0)
    letters = [chr(c) for c in range(33, 127)]
    vocab = {letter: number for number, letter in enumerate(["<|endoftext|>", "<|startoftranscript|>", *letters])}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = WhisperTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    config = WhisperConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=80, max_target_positions=12,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    model.generation_config.max_length = 8
    model.save_pretrained(folder, safe_serialization=True)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.generate
def test_a_whisper_model_from_a_folder_writes_down_what_it_hears(tiny: Path) -> None:
    guard = WhisperGuard(tiny)
    noise = np.random.default_rng(0).normal(0, 0.1, 40 * RATE).astype(np.float32)
    said = list(guard.transcribe([noise[: 20 * RATE], noise[20 * RATE :]]))
    assert len(said) == 2
    assert all(isinstance(text, str) for text in said)
    assert len(guard.model.digest) == 64


@pytest.mark.generate
def test_a_folder_without_safe_weights_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    decision = judge_sound(NEWSROOM, WhisperGuard(tmp_path), lambda: [np.zeros(RATE, np.float32)])
    assert decision.code == "output.guard_failed"
