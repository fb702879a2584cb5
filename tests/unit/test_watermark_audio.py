"""The sound codec: what it survives, what it refuses, what it must not find, and how little it needs to hold."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from scipy import signal

from filigrana.errors import MediaError, WatermarkError
from filigrana.pipeline.bench import sound_attacks as attacks
from filigrana.pipeline.bench import sound_quality as quality
from filigrana.provenance.identity import AssetId
from filigrana.provenance.media import open_media
from filigrana.provenance.media.sound import read_sound, write_wav
from filigrana.provenance.media.track import MarkedSoundTrack
from filigrana.provenance.watermark.audio import ALG, FLOOR, LogSpectralQim, p_value
from filigrana.provenance.watermark.audio_grid import BANDS, BLOCKS, PILOTS, band_matrix, gain_matrix, pattern
from filigrana.provenance.watermark.audio_search import Heard, Searcher
from filigrana.provenance.watermark.audio_stream import downmix, windows
from filigrana.provenance.watermark.base import SoundBlock

ID = AssetId(0x123456789ABCDEF)


def music(seconds: float, rate: int = 44_100, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Plucked chords over a little noise: tones that start and die away, in every band."""
    rng, n = np.random.default_rng(seed), int(seconds * rate)
    t = np.arange(rate) / rate
    out = np.zeros((n + rate, channels))
    for start in range(0, n, rate // 5):
        base = rng.choice([110, 147, 165, 196, 220, 262])
        partials = np.arange(1, 24)[:, None]
        note = (
            np.sin(2 * np.pi * base * partials * t + rng.uniform(0, 6, (23, 1))) / partials**0.8 * np.exp(-3 * t)
        ).sum(0)
        out[start : start + rate] += note[:, None] * rng.uniform(0.6, 1, channels)
    out = out[:n] + 0.02 * signal.lfilter([1], [1, -0.9], rng.standard_normal((n, channels)), axis=0)
    return np.asarray(0.4 * out / np.abs(out).max(), np.float32)


def blocks(samples: np.ndarray, rate: int, size: int = 4096) -> Iterator[SoundBlock]:
    for start in range(0, len(samples), size):
        yield SoundBlock(samples[start : start + size], rate)


def embed(
    samples: np.ndarray, rate: int, asset_id: AssetId = ID, key: bytes | None = None, size: int = 4096
) -> np.ndarray:
    return np.concatenate([b.samples for b in LogSpectralQim(key).embed(blocks(samples, rate, size), asset_id)])


@pytest.fixture(scope="module")
def codec() -> LogSpectralQim:
    return LogSpectralQim()


@pytest.fixture(scope="module")
def original() -> np.ndarray:
    return music(10.0)


@pytest.fixture(scope="module")
def marked(original: np.ndarray) -> np.ndarray:
    return embed(original, 44_100)


# ── the mark itself ──────────────────────────────────────────────────────────────────────────────────────────────
def test_mark_reads_back_and_lies_far_below_the_sound(
    codec: LogSpectralQim, original: np.ndarray, marked: np.ndarray
) -> None:
    detection = codec.detect(blocks(marked, 44_100))
    assert codec.alg == ALG
    assert detection.asset_id == ID
    assert detection.score > 15
    assert detection.p_value < 1e-9
    assert marked.shape == original.shape
    assert quality.snr(original, marked) > 23
    assert quality.noise_to_mask(original, marked, 44_100) < 0


def test_the_original_carries_nothing(codec: LogSpectralQim, original: np.ndarray) -> None:
    detection = codec.detect(blocks(original, 44_100))
    assert detection.asset_id is None
    assert detection.p_value == 1.0
    assert detection.timing is None


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 48_000])
def test_rates(codec: LogSpectralQim, rate: int) -> None:
    sound = music(5.0, rate)
    assert codec.detect(blocks(embed(sound, rate), rate)).asset_id == ID


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_and_their_downmixes(codec: LogSpectralQim, channels: int) -> None:
    sound = music(4.0, 32_000, channels)
    copy = embed(sound, 32_000)
    assert copy.shape == sound.shape
    assert codec.detect(blocks(copy, 32_000)).asset_id == ID
    mono = (copy @ downmix(channels))[:, None]
    assert codec.detect(blocks(mono, 32_000)).asset_id == ID


def test_the_size_of_blocks_changes_nothing(marked: np.ndarray, original: np.ndarray) -> None:
    short = original[:66_150]
    assert np.array_equal(embed(short, 44_100, size=7), embed(short, 44_100, size=66_150))


def test_one_key_does_not_read_another_s_mark(codec: LogSpectralQim, original: np.ndarray) -> None:
    secret = embed(original[:176_400], 44_100, key=b"an organisation")
    assert codec.detect(blocks(secret, 44_100)).asset_id is None
    assert LogSpectralQim(b"an organisation").detect(blocks(secret, 44_100)).asset_id == ID


# ── what it survives ─────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "name",
    [
        "AAC 64k", "MP3 128k", "Opus 64k", "16 kHz", "16 kHz and back", "noise 20 dB", "speed -2 %", "half as loud", "8 bit",
        "lowpass 4 kHz", "1,024 samples late", "muted gaps", "inverted", "equalised", "echo",
    ],
)  # fmt: skip
def test_survives(codec: LogSpectralQim, marked: np.ndarray, name: str) -> None:
    copy, rate = attacks.ATTACKS[name](marked, 44_100, np.random.default_rng(1))
    assert codec.detect(blocks(copy, rate)).asset_id == ID


@pytest.mark.parametrize("start", [0.0, 1.37, 3.9, 6.99])
def test_any_three_seconds_are_enough(codec: LogSpectralQim, marked: np.ndarray, start: float) -> None:
    cut = marked[int(start * 44_100) : int((start + 3) * 44_100)]
    assert codec.detect(blocks(cut, 44_100)).asset_id == ID


def test_loudness_that_changes_from_cell_to_cell_is_followed(codec: LogSpectralQim, marked: np.ndarray) -> None:
    rng, n = np.random.default_rng(4), len(marked)
    gain = np.exp(np.interp(np.arange(n), np.arange(0, n + 1103, 1103), rng.normal(0, 0.2, n // 1103 + 2)))
    copy = (marked * gain[:, None]).astype(np.float32)
    assert codec.detect(blocks(copy, 44_100)).asset_id == ID
    heard, searcher = Heard(next(windows(blocks(copy, 44_100))).sound), Searcher(pattern(None))
    levels = heard.levels(1.0)
    place = searcher.coarse(levels, 1, 8)[0]
    followed, straight = (searcher.read(levels, place, follow=follow).decoded.score for follow in (True, False))
    assert followed > straight + 0.5


def test_noise_as_loud_as_the_sound_ends_it(codec: LogSpectralQim, marked: np.ndarray) -> None:
    copy, rate = attacks.noisy(marked[:132_300], 44_100, np.random.default_rng(1), snr=0.0)
    assert codec.detect(blocks(copy, rate)).asset_id is None


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("start", [0.0, 0.5, 4.25])
def test_timing_says_what_moment_a_copy_begins_with(codec: LogSpectralQim, marked: np.ndarray, start: float) -> None:
    timing = codec.detect(blocks(marked[int(start * 44_100) :], 44_100)).timing
    assert timing is not None
    assert (timing.offset - start + 16) % 32 - 16 == pytest.approx(0, abs=timing.tolerance)
    assert timing.speed == pytest.approx(1, abs=3e-4)


def test_timing_wraps_after_32_seconds(codec: LogSpectralQim) -> None:
    copy = embed(music(39.0, 16_000), 16_000)
    timing = codec.detect(blocks(copy[35 * 16_000 :], 16_000)).timing
    assert timing is not None
    assert timing.offset == pytest.approx(3.0, abs=timing.tolerance)


def test_timing_measures_speed(codec: LogSpectralQim, marked: np.ndarray) -> None:
    copy, rate = attacks.faster(marked, 44_100, np.random.default_rng(0), by=1.02)
    timing = codec.detect(blocks(copy, rate)).timing
    assert timing is not None
    assert timing.speed == pytest.approx(1.02, abs=5e-4)
    assert (timing.offset + 16) % 32 - 16 == pytest.approx(0, abs=2 * timing.tolerance)


def test_silence_in_front_is_skipped_and_counted(codec: LogSpectralQim, marked: np.ndarray) -> None:
    copy = np.concatenate([np.zeros((60 * 44_100, 1), np.float32), marked[: 4 * 44_100]])
    timing = codec.detect(blocks(copy, 44_100, 44_100)).timing
    assert timing is not None
    assert (timing.offset + 60 + 16) % 32 - 16 == pytest.approx(0, abs=timing.tolerance)


def test_the_epoch_s_variant_is_the_shared_one() -> None:
    ours = pattern(None)
    assert ours.dither.shape == (BLOCKS, BANDS)
    # Each second: every symbol at least once, and the pilots.
    for second in ours.symbol.reshape(32, -1):
        assert (second < 0).sum() == PILOTS
        assert set(second[second >= 0]) == set(range(416))
    assert not np.array_equal(ours.dither, pattern(b"another key").dither)


# ── what it refuses, and what it takes calmly ────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("samples", "rate", "code"),
    [
        (np.zeros((0, 1), np.float32), 48_000, "provenance.watermark.too_small"),
        (np.zeros((47_999, 1), np.float32), 48_000, "provenance.watermark.too_small"),
        (np.zeros((48_000, 1), np.float32), 7_999, "provenance.watermark.rate"),
        (np.zeros((48_000, 1), np.float32), 192_001, "provenance.watermark.rate"),
        (np.full((96_000, 1), np.nan, np.float32), 48_000, "provenance.watermark.not_finite"),
        (np.full((96_000, 1), np.inf, np.float32), 48_000, "provenance.watermark.not_finite"),
        (np.zeros((96_000, 9), np.float32), 48_000, "provenance.watermark"),
        (np.zeros((96_000, 1), np.float64), 48_000, "provenance.watermark"),
        (np.zeros(96_000, np.float32), 48_000, "provenance.watermark"),
    ],
)
def test_refuses_to_mark(codec: LogSpectralQim, samples: np.ndarray, rate: int, code: str) -> None:
    with pytest.raises(WatermarkError) as refused:
        list(codec.embed([SoundBlock(samples, rate)], ID))
    assert refused.value.code == code
    assert codec.detect([SoundBlock(samples, rate)]).asset_id is None


def test_no_blocks_at_all(codec: LogSpectralQim) -> None:
    assert codec.detect([]).asset_id is None
    with pytest.raises(WatermarkError):
        list(codec.embed([], ID))


def test_a_change_of_form_in_the_middle_is_refused(codec: LogSpectralQim, original: np.ndarray) -> None:
    with pytest.raises(WatermarkError):
        list(codec.embed([SoundBlock(original, 44_100), SoundBlock(original, 48_000)], ID))


def test_silence_comes_back_untouched(codec: LogSpectralQim) -> None:
    silence = np.zeros((32_000, 2), np.float32)
    assert not embed(silence, 16_000).any()
    assert codec.detect([SoundBlock(silence, 16_000)]).asset_id is None


def test_quiet_stretches_get_next_to_nothing(original: np.ndarray) -> None:
    sound = original[:132_300].copy()
    sound[44_100:88_200] = 0
    change = np.abs(embed(sound, 44_100) - sound)
    # A window's length around the pause may still ring.
    assert change[44_100 + 4_000 : 88_200 - 4_000].max() < 1e-6
    assert change.max() > 1e-3


def test_full_scale_does_not_clip(codec: LogSpectralQim, original: np.ndarray) -> None:
    loud = original[:176_400] / np.abs(original).max()
    copy = embed(loud, 44_100)
    assert np.abs(copy).max() <= 1
    assert codec.detect(blocks(copy, 44_100)).asset_id == ID


def test_damaged_values_do_not_stop_a_detection(codec: LogSpectralQim, marked: np.ndarray) -> None:
    copy = marked[:220_500].copy()
    copy[1000::20_000] = np.nan
    copy[2000::30_000] = np.inf
    assert codec.detect(blocks(copy, 44_100)).asset_id == ID


# ── what it costs ────────────────────────────────────────────────────────────────────────────────────────────────
def test_detection_reads_no_more_than_it_needs(codec: LogSpectralQim, marked: np.ndarray) -> None:
    read = 0

    def endless() -> Iterator[SoundBlock]:
        nonlocal read
        while True:
            read += 1
            yield SoundBlock(
                marked[:44_100] if read > 1000 else marked[(read - 1) * 44_100 % 400_000 :][:44_100], 44_100
            )

    assert codec.detect(endless()).asset_id == ID
    assert read <= 5


def test_a_search_in_endless_sound_ends(codec: LogSpectralQim) -> None:
    rng, read = np.random.default_rng(0), 0

    def endless() -> Iterator[SoundBlock]:
        nonlocal read
        while True:
            read += 1
            yield SoundBlock(rng.normal(0, 0.1, (16_000, 1)).astype(np.float32), 16_000)

    assert codec.detect(endless()).asset_id is None
    assert read <= 32


def test_embedding_holds_a_few_seconds_whatever_the_length() -> None:
    second = music(1.0, 16_000)
    peaks = []
    for seconds in (12, 48):
        tracemalloc.start()
        for _ in LogSpectralQim().embed((SoundBlock(second, 16_000) for _ in range(seconds)), ID):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_embedding_is_faster_than_twenty_times_real_time() -> None:
    sound = music(10.0, 48_000)
    embed(sound[:48_000], 48_000)
    started = time.process_time()
    embed(sound, 48_000)
    assert time.process_time() - started < 10.0 / 20


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────
def wav(path: Path, sound: np.ndarray, rate: int, codec: str) -> Path:
    with av.open(str(path), "w", format="wav") as out:
        stream = out.add_stream(codec, rate=rate, layout={1: "mono", 2: "stereo"}[sound.shape[1]])
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.T), "fltp", stream.layout.name)
        frame.rate = rate
        resampler = av.AudioResampler(format=stream.codec_context.format.name, layout=stream.layout.name, rate=rate)
        for ready in resampler.resample(frame):
            out.mux(stream.encode(ready))
        out.mux(stream.encode(None))
    return path


def clip(path: Path, sound: list[SoundBlock], seconds: float) -> Path:
    """Grey pictures with a sound track, as `encode_clip` would make it."""
    with av.open(str(path), "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=25)
        video.width = video.height = 64
        track = MarkedSoundTrack(out, sound)
        for number in range(int(seconds * 25)):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number, np.uint8), "rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            out.mux(video.encode(picture))
            track.write_until(number / 25)
        out.mux(video.encode(None))
        track.write_until(math.inf)
    return path


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_wav_comes_back_byte_for_byte(tmp_path: Path, codec: str) -> None:
    source = wav(tmp_path / "in.wav", music(0.5, 16_000, 2), 16_000, codec)
    written = write_wav(read_sound(open_media(source)), tmp_path / "out.wav", source)
    ours, theirs = ((path.read_bytes(), path.read_bytes().index(b"data")) for path in (tmp_path / "out.wav", source))
    assert written == 8000
    assert ours[0][ours[1] :] == theirs[0][theirs[1] :]


def test_a_marked_wav_file_carries_its_mark(tmp_path: Path, codec: LogSpectralQim, original: np.ndarray) -> None:
    source = wav(tmp_path / "in.wav", original[:176_400], 44_100, "pcm_s16le")
    write_wav(codec.embed(read_sound(open_media(source)), ID), tmp_path / "out.wav", source)
    assert open_media(tmp_path / "out.wav").info.duration == pytest.approx(4.0)
    assert codec.detect(read_sound(open_media(tmp_path / "out.wav"))).asset_id == ID


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (48_000, 2), (37_800, 2), (48_000, 6)])
def test_a_clip_s_marked_track_stays_in_step(tmp_path: Path, codec: LogSpectralQim, rate: int, channels: int) -> None:
    copy = embed(music(4.0, rate, channels), rate)
    path = clip(tmp_path / "clip.mp4", list(blocks(copy, rate, rate)), 4.0)
    detection = codec.detect(read_sound(open_media(path)))
    assert detection.asset_id == ID
    assert detection.timing is not None
    assert (detection.timing.offset + 16) % 32 - 16 == pytest.approx(0, abs=detection.timing.tolerance)


def test_sound_that_is_not_there_or_breaks_off_is_named(tmp_path: Path) -> None:
    silent = clip(tmp_path / "silent.mp4", [], 0.4)
    with pytest.raises(MediaError) as missing:
        list(read_sound(open_media(silent)))
    assert missing.value.code == "input.media.empty"
    whole = wav(tmp_path / "whole.wav", music(1.0, 16_000), 16_000, "pcm_s16le")
    (tmp_path / "half.wav").write_bytes(whole.read_bytes()[:16_000])
    with pytest.raises(MediaError) as cut:
        list(read_sound(open_media(tmp_path / "half.wav")))
    assert cut.value.code == "input.media.cut_off"


def test_a_wav_file_is_not_written_in_a_form_that_it_cannot_have(tmp_path: Path) -> None:
    source = wav(tmp_path / "in.wav", music(0.2, 16_000), 16_000, "pcm_s16le")
    with pytest.raises(MediaError):
        write_wav([SoundBlock(np.zeros((10, 2), np.float32), 16_000)], tmp_path / "out.wav", source)
    companded = wav(tmp_path / "mulaw.wav", music(0.2, 16_000), 16_000, "pcm_mulaw")
    with pytest.raises(MediaError):
        write_wav([], tmp_path / "out.wav", companded)


def test_rounding_is_to_the_nearest_and_full_scale_holds(tmp_path: Path) -> None:
    source = wav(tmp_path / "in.wav", music(0.2, 16_000), 16_000, "pcm_s16le")
    values = np.array([1.0, -1.0, 2.0, 0.6 / 32768, -0.6 / 32768, 0.4 / 32768], np.float32)[:, None]
    write_wav([SoundBlock(values, 16_000)], tmp_path / "out.wav", source)
    assert np.frombuffer((tmp_path / "out.wav").read_bytes()[-12:], "<i2").tolist() == [32767, -32768, 32767, 1, -1, 0]


# ── how sure it is ───────────────────────────────────────────────────────────────────────────────────────────────
def test_p_value_falls_with_the_score_and_grows_with_the_tries() -> None:
    assert p_value(1, 16.0) <= p_value(1, 11.0) < p_value(1, 10.5) < p_value(1, FLOOR) <= 2.0**-35
    assert p_value(12, 10.5) == pytest.approx(12 * p_value(1, 10.5))


def test_bands_share_out_every_bin_once() -> None:
    inside = slice(14, 305)
    assert np.allclose(band_matrix().sum(1)[inside], 1, atol=1e-5)
    assert np.allclose(gain_matrix().sum(0)[inside], 1, atol=1e-5)
