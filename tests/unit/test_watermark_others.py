"""Second layers: tags that point into the catalog, rivaGan, and the adapters of packages that are not installed here.

An adapter is held to its contract by a stand-in package with the call signatures of the real one (trustmark 0.9.2,
videoseal 1.0.1, resemble-perth 1.0.1). Where the real package and its weights are installed, it is tested too.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from filigrana.errors import WatermarkError
from filigrana.provenance.identity import AssetId
from filigrana.provenance.media import Frame
from filigrana.provenance.media.files import picture_from_bytes
from filigrana.provenance.watermark import optional, perth, registry, rivagan, tags, trustmark, videoseal
from filigrana.provenance.watermark.base import SoundBlock
from filigrana.tests.doubles import look, put, scene

ID = AssetId(0x123456789ABCDEF)
words = st.integers(0, 2**32 - 1)


# ── tags ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_tag_depends_on_asset_and_key_and_nothing_else() -> None:
    assert tags.tag_of(ID) == tags.tag_of(AssetId(ID.value))
    assert tags.tag_of(ID) != tags.tag_of(AssetId(ID.value + 1))
    assert tags.tag_of(ID) != tags.tag_of(ID, b"an organisation's own")
    assert int(tags.tag_text(tags.tag_of(ID)), 16) == tags.tag_of(ID)
    assert tags.tag_text(5) == "00000005"


def test_tags_are_uniform() -> None:
    """What every bound rests on: of 4,000 tags each bit is a fair coin (5 sigma)."""
    drawn = np.array([tags.tag_of(AssetId(i)) for i in range(4000)], np.uint32)
    ones = np.array([np.mean(drawn >> shift & 1) for shift in range(32)])
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / np.sqrt(4000)


@given(words, st.sets(st.integers(0, 31), max_size=3), st.lists(words, max_size=20))
def test_nearest_finds_the_tag_with_fewest_wrong_bits(tag: int, wrong: set[int], others: list[int]) -> None:
    read = tag ^ sum(1 << place for place in wrong)
    found = tags.nearest(read, [*others, tag], within=3)
    distances = [(read ^ other).bit_count() for other in [*others, tag]]
    assert found.distance == min(distances)
    assert found.indices == tuple(i for i, d in enumerate(distances) if d == min(distances))


def test_nearest_answers_with_nothing_beyond_its_limit() -> None:
    assert tags.nearest(0b111, [0], within=2).indices == ()
    assert tags.nearest(0b111, [0], within=2).p_value == 1.0
    assert tags.nearest(0b111, [0], within=3).indices == (0,)
    assert tags.nearest(7, []).indices == ()
    with pytest.raises(ValueError, match="32 bits"):
        tags.nearest(1 << 32, [0])


def test_several_assets_may_share_a_tag_and_all_are_candidates() -> None:
    assert tags.nearest(9, [9, 8, 9], within=0).indices == (0, 2)


def test_the_chance_of_a_false_match_is_what_is_stated() -> None:
    """A million tags, and words that have nothing to do with them: matches as expected, within 5 sigma of Poisson."""
    rng = np.random.default_rng(3)
    catalog = rng.integers(0, 1 << 32, 1_000_000, dtype=np.uint32)
    expected, seen = 0.0, 0
    for word in rng.integers(0, 1 << 32, 40, dtype=np.uint32):
        seen += int((np.bitwise_count(catalog ^ word) <= 2).sum())
        expected += tags.chance_matches(len(catalog), 2)
    assert abs(seen - expected) < 5 * np.sqrt(expected)
    assert tags.chance_matches(1 << 32, 0) == 1.0
    one = tags.nearest(int(catalog[0]), catalog.tolist(), within=0)
    assert one.p_value == pytest.approx(1e6 / 2**32, rel=1e-3)


def test_a_larger_catalog_forgives_less() -> None:
    assert [tags.tolerance(n) for n in (1, 80_000, 90_000, 1_300_000, 1_400_000)] == [2, 2, 1, 1, 0]
    for count in (100, 80_000, 1_000_000):
        assert tags.tolerance(count) == 0 or tags.chance_matches(count, tags.tolerance(count)) < 0.01


@given(words, st.integers(0, 2))
def test_neighbours_are_all_words_so_near_once_each_nearest_first(tag: int, within: int) -> None:
    found = list(tags.neighbours(tag, within))
    assert len(set(found)) == len(found) == tags.volume(within)
    distances = [(other ^ tag).bit_count() for other in found]
    assert distances == sorted(distances)
    assert max(distances) == within


@pytest.mark.parametrize(("wrong", "fits"), [(0, True), (2, True), (3, False), (16, False)])
def test_an_expected_tag_fits_with_two_wrong_bits_at_most(wrong: int, fits: bool) -> None:
    tag = tags.tag_of(ID)
    seen = tags.TagDetection(None, (~tag & 0xFFFFFFFF, tag ^ (1 << wrong) - 1), 0.1, 0.9, 0.0)
    fit = tags.agreement(seen, tag)
    assert (fit.wrong, fit.fits) == (wrong, fits)
    assert fit.p_value == min(1.0, 2 * tags.volume(wrong) / 2**32)


def test_nothing_read_fits_nothing() -> None:
    assert not tags.agreement(tags.TagDetection(None, (), 0.0, 1.0, 0.0, 0), 0).fits


# ── rivaGan ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def tagged() -> tuple[np.ndarray, np.ndarray, tags.TagDetection]:
    """(original, marked, what is read of it): a photograph, since this mark is weak in grain such as `scene` has."""
    photo = picture_from_bytes((resources.files("filigrana.pipeline.cli") / "photo.jpg").read_bytes())
    original, codec = np.ascontiguousarray(photo[:256, :256]), rivagan.RivaGan(threads=1)
    marked = next(codec.embed([Frame(original)], tags.tag_of(ID))).rgb
    return original, marked, codec.detect([Frame(marked)])


def test_rivagan_reads_its_tag_back(tagged: tuple[np.ndarray, np.ndarray, tags.TagDetection]) -> None:
    original, marked, seen = tagged
    assert isinstance(rivagan.RivaGan(), tags.TagCodec)
    assert seen.tag == seen.words[0]
    assert tags.agreement(seen, tags.tag_of(ID)).fits
    assert seen.p_value < 0.02
    assert not seen.turned
    error = np.mean((marked.astype(float) - original) ** 2)
    assert 10 * np.log10(255**2 / error) > 40


def test_the_unmarked_picture_gives_no_tag(tagged: tuple[np.ndarray, np.ndarray, tags.TagDetection]) -> None:
    codec = rivagan.RivaGan(threads=1)
    seen = codec.detect([Frame(tagged[0])])
    assert seen.tag is None
    assert seen.p_value > 0.02
    assert not tags.agreement(seen, tags.tag_of(ID)).fits


def test_a_copy_that_stands_on_its_head_gives_the_same_tag(
    tagged: tuple[np.ndarray, np.ndarray, tags.TagDetection],
) -> None:
    seen = rivagan.RivaGan(threads=1).detect([Frame(np.ascontiguousarray(tagged[1][::-1, ::-1]))])
    assert seen.turned
    assert (seen.tag, seen.words) == (tagged[2].tag, tagged[2].words)


def test_what_the_package_s_own_arithmetic_reads_is_our_tag(
    tagged: tuple[np.ndarray, np.ndarray, tags.TagDetection],
) -> None:
    """The package's decoder is `output > 0.52` over the frame at 2 x / 255 - 1; it needs torch only as a container."""
    session = rivagan._session("rivagan_decoder.onnx", 1)
    frame = (np.array([tagged[1]], np.float32) / 127.5 - 1.0).transpose(3, 0, 1, 2)[None]
    bits = session.run(None, {"frame": frame})[0][0] > 0.52
    read = int("".join("1" if bit else "0" for bit in bits), 2)
    assert (read ^ tags.tag_of(ID)).bit_count() <= 2


def test_the_turned_picture_is_the_null_of_its_picture() -> None:
    loud, quiet = np.full(32, 9.0), np.full(32, -1.5)
    assert rivagan.presence(loud, quiet) == -rivagan.presence(quiet, loud) == pytest.approx(np.log(6))
    assert rivagan.presence(quiet, quiet) == 0.0
    assert rivagan.presence(np.zeros(32), np.zeros(32)) == 0.0


def test_p_values_fall_with_the_score() -> None:
    values = [rivagan.p_value(s) for s in (0.0, 0.3, 0.9, 2.0, 1e6)]
    assert values[0] == 1.0
    assert values == sorted(values, reverse=True)
    assert values[-1] >= 0.0
    assert rivagan.p_value(rivagan.FLOOR) < 0.01


def test_rivagan_refuses_what_it_cannot_mark() -> None:
    codec = rivagan.RivaGan(threads=1)
    with pytest.raises(WatermarkError) as caught:
        next(codec.embed([Frame(scene(1, 255, 400))], 1))
    assert caught.value.code == "provenance.watermark.too_small"
    with pytest.raises(ValueError, match="32 bits"):
        next(codec.embed([Frame(scene(1, 256, 256))], 1 << 32))
    assert codec.detect([Frame(scene(1, 100, 100))]).words == ()
    assert codec.detect([]).tag is None


def test_rivagan_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    rivagan._session.cache_clear()
    monkeypatch.setitem(sys.modules, "imwatermark", None)
    with pytest.raises(WatermarkError) as caught:
        rivagan.RivaGan().detect([Frame(scene(1, 256, 256))])
    assert caught.value.hint == "pip install invisible-watermark"
    rivagan._session.cache_clear()


# ── stand-ins ────────────────────────────────────────────────────────────────────────────────────────────────────
TRUSTMARK = """
from .trustmark import TrustMark
"""
TRUSTMARK_CORE = """
import os, urllib.request
import numpy as np
from PIL import Image
MODEL_CHECKSUMS = {CHECKSUMS}
class TrustMark():
    class Encoding:
       Undefined=-1
       BCH_SUPER=0
       BCH_3=3
       BCH_4=2
       BCH_5=1
    def __init__(self, use_ECC=True, verbose=True, secret_len=100, device='', model_type='Q',
                 encoding_type=Encoding.BCH_5, concentrate_wm_region=1.0, loadRemover=True, loadBBoxDetector=False):
        if verbose: print('Initializing TrustMark')
        print('Global step: 1')
        assert model_type == 'Q' and encoding_type == 1 and not loadRemover and use_ECC
        folder = os.path.join(os.path.dirname(__file__), 'models')
        there = all(os.path.isfile(os.path.join(folder, f)) for f in MODEL_CHECKSUMS)
        self.encoder = self.decoder = object() if there else None
    def encode(self, in_cover_image, string_secret, MODE='text', WM_STRENGTH=1.0, WM_MERGE='bilinear'):
        assert MODE == 'binary' and len(string_secret) == 61
        pixels = np.array(in_cover_image)
        pixels[0, :61, 0] = [255 * int(bit) for bit in string_secret]
        return Image.fromarray(pixels)
    def decode(self, in_stego_image, MODE='text', ROTATION=False):
        bits = ''.join(str(int(v > 127)) for v in np.asarray(in_stego_image)[0, :61, 0])
        plain = set(np.asarray(in_stego_image)[0, :61, 0].tolist()) <= {0, 255}
        return (bits, True, 1) if plain else ('', False, -1)
"""
VIDEOSEAL = """
import torch
def load(*args, **kwargs):
    assert args == ("videoseal",)
    print("Model loaded successfully")
    return Model()
class Model:
    def eval(self): return self
    def embed(self, imgs, msgs=None, is_video=True, interpolation={}, lowres_attenuation=False):
        assert imgs.dtype == torch.float32 and imgs.shape[1] == 3 and msgs.shape == (1, 256) and not is_video
        out = imgs.clone()
        out[:, 0, 0, :256] = 0.25 + 0.5 * msgs
        return {"imgs_w": out, "msgs": msgs}
    def detect(self, imgs, is_video=True, interpolation={}):
        read = (imgs[:, 0, 0, :256] - 0.5) * 20
        return {"preds": torch.cat([torch.zeros(len(imgs), 1), read], 1)}
"""
PERTH = """
import numpy as np
class PerthImplicitWatermarker:
    def __init__(self, run_name="implicit", models_dir=None, device="cpu", perth_net=None):
        print("loaded")
    def apply_watermark(self, signal, sample_rate, **_):
        return signal
    def get_watermark(self, wm_signal, sample_rate, round=True, **_):
        assert wm_signal.ndim == 1 and wm_signal.dtype == np.float32 and not round
        return np.array(ANSWER, np.float32)
"""
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package of these files first on the path, and takes it away again."""
    names: list[str] = []

    def put_there(name: str, **files: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file, text in files.items():
            (folder / f"{file}.py").write_text(text)
        names.append(name)
        forget(name)
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        return folder

    def forget(name: str) -> None:
        for module in [m for m in sys.modules if m.split(".")[0] == name]:
            del sys.modules[module]

    yield put_there
    for name in names:
        forget(name)


def trustmark_package(install: Install, weights: bool = True) -> Path:
    content = b"weights"
    sums = {name: hashlib.md5(content, usedforsecurity=False).hexdigest() for name in trustmark._FILES}
    folder = install("trustmark", __init__=TRUSTMARK, trustmark=TRUSTMARK_CORE.replace("{CHECKSUMS}", repr(sums)))
    (folder / "models").mkdir()
    if weights:
        for name in sums:
            (folder / "models" / name).write_bytes(content)
    return folder


MISSING = {
    "trustmark": ("trustmark", lambda: look(trustmark.TrustMark(), scene(1))),
    "videoseal": ("videoseal", lambda: look(videoseal.VideoSeal(), scene(1))),
    "perth": ("resemble-perth", lambda: perth.Perth().present(SoundBlock(np.ones((9, 1), np.float32), 16000))),
}


@pytest.mark.parametrize("module", MISSING)
def test_a_missing_package_is_named_with_its_pip_command(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package, use = MISSING[module]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(WatermarkError) as caught:
        use()
    assert caught.value.code == "provenance.watermark.not_installed"
    assert caught.value.hint == f"pip install {package}"


# ── TrustMark ────────────────────────────────────────────────────────────────────────────────────────────────────
@given(st.integers(0, 2**60 - 1))
def test_trustmark_s_payload_holds_every_id(value: int) -> None:
    bits = trustmark.bits_of(AssetId(value))
    assert len(bits) == 61
    assert trustmark.id_of(bits) == AssetId(value)
    assert trustmark.id_of("1" + bits[1:]) is None
    assert trustmark.id_of(bits[:60]) is None
    assert trustmark.binding_value(AssetId(value)) == f"1*{bits}"


def test_trustmark_marks_and_reads(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    trustmark_package(install)
    codec = trustmark.TrustMark()
    picture = put(codec, scene(1), ID)
    found = look(codec, picture)
    assert found.asset_id == ID
    assert 1e-4 < found.p_value < 1e-3
    assert look(codec, scene(1)).asset_id is None
    assert look(codec, *[picture] * 3).asset_id == ID
    assert look(codec, picture, scene(1), scene(2), scene(3)).asset_id is None
    assert look(codec).asset_id is None
    assert capsys.readouterr().out == ""


def test_trustmark_never_fetches_its_weights_unasked(install: Install) -> None:
    folder = trustmark_package(install, weights=False)
    with pytest.raises(WatermarkError) as caught:
        look(trustmark.TrustMark(), scene(1))
    assert caught.value.code == "provenance.watermark.no_weights"
    assert "allow_download" in caught.value.hint
    assert "trustmark" not in sys.modules, "refused before the package could act"
    # A download that fails leaves the package without a model and without an error.
    with pytest.raises(WatermarkError):
        look(trustmark.TrustMark(allow_download=True), scene(1))
    assert list((folder / "models").iterdir()) == []


def test_trustmark_s_weights_of_another_digest_are_refused(install: Install) -> None:
    """The package would replace them from the network."""
    folder = trustmark_package(install)
    (folder / "models" / "encoder_Q.ckpt").write_bytes(b"something else")
    with pytest.raises(WatermarkError) as caught:
        look(trustmark.TrustMark(), scene(1))
    assert "encoder_Q.ckpt" in caught.value.message


def test_trustmark_has_no_key() -> None:
    with pytest.raises(WatermarkError):
        trustmark.TrustMark(b"an organisation's own")


# ── Video Seal ───────────────────────────────────────────────────────────────────────────────────────────────────
@given(st.integers(0, 2**60 - 1), st.sets(st.integers(0, 255), max_size=16))
def test_256_bits_carry_the_payload_past_wrong_ones(value: int, wrong: set[int]) -> None:
    from filigrana.provenance.watermark import payload

    codec = videoseal.VideoSeal()
    read = 1.0 - 2.0 * codec.bits(AssetId(value))[0]
    read[list(wrong)] *= -1
    found = payload.decode(codec.soft(read))
    assert found.asset_id == AssetId(value)
    assert found.score >= videoseal.FLOOR


def test_noise_in_256_bits_is_no_payload() -> None:
    from filigrana.provenance.watermark import payload

    rng, codec = np.random.default_rng(1), videoseal.VideoSeal()
    scores = [payload.decode(codec.soft(rng.normal(0, 1, 256))).score for _ in range(20)]
    assert max(scores) < videoseal.FLOOR


@pytest.mark.generate
def test_videoseal_marks_and_reads(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install("videoseal", __init__=VIDEOSEAL)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WatermarkError) as caught:
        look(videoseal.VideoSeal(), scene(1))
    assert caught.value.code == "provenance.watermark.no_weights"
    (tmp_path / "ckpts").mkdir()
    (tmp_path / "ckpts" / "y_256b_img.pth").write_bytes(b"weights")
    codec = videoseal.VideoSeal()
    picture = put(codec, scene(1), ID)
    assert look(codec, picture, picture).asset_id == ID
    assert look(codec, picture).p_value < 1e-7
    assert look(codec, scene(1)).asset_id is None
    assert look(videoseal.VideoSeal(b"an organisation's own"), picture).asset_id is None
    assert capsys.readouterr().out == ""


@pytest.mark.generate
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_videoseal_s_torchscript_file_needs_no_package(tmp_path: Path) -> None:
    import torch

    class Model(torch.nn.Module):
        def forward(self, imgs: torch.Tensor) -> torch.Tensor:
            return imgs

        @torch.jit.export
        def embed(self, imgs: torch.Tensor, msgs: torch.Tensor) -> torch.Tensor:
            out = imgs.clone()
            out[:, 0, 0, :256] = 0.25 + 0.5 * msgs
            return out

        @torch.jit.export
        def detect(self, imgs: torch.Tensor) -> torch.Tensor:
            return torch.cat([torch.zeros(1, 1), (imgs[:, 0, 0, :256] - 0.5) * 20], 1)

    file = tmp_path / "y_256b_img.jit"
    torch.jit.script(Model()).save(str(file))
    codec = videoseal.VideoSeal(checkpoint=file)
    assert look(codec, put(codec, scene(1), ID)).asset_id == ID
    with pytest.raises(WatermarkError) as caught:
        look(videoseal.VideoSeal(checkpoint=tmp_path / "absent.jit"), scene(1))
    assert caught.value.code == "provenance.watermark.no_weights"


# ── Perth ────────────────────────────────────────────────────────────────────────────────────────────────────────
SOUND = SoundBlock(np.linspace(-1, 1, 800, dtype=np.float32).reshape(400, 2), 16000)


@pytest.mark.parametrize(("answer", "sure"), [("1.0", 1.0), ("[0.25]", 0.25), ("-3.0", 0.0)])
def test_perth_says_how_sure_it_is(
    answer: str, sure: float, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("perth", __init__=PERTH.replace("ANSWER", answer))
    assert perth.Perth().present(SOUND) == sure
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("answer", ["float('nan')", "[0.0, 1.0]"])
def test_an_answer_that_is_none_is_an_error(answer: str, install: Install) -> None:
    install("perth", __init__=PERTH.replace("ANSWER", answer))
    with pytest.raises(WatermarkError):
        perth.Perth().present(SOUND)


def test_perth_finds_nothing_in_silence(install: Install) -> None:
    install("perth", __init__=PERTH.replace("ANSWER", "float('nan')"))
    assert perth.Perth().present(SoundBlock(np.zeros((400, 2), np.float32), 16000)) == 0.0


def test_perth_without_its_class_says_what_is_missing(install: Install) -> None:
    install("perth", __init__="PerthImplicitWatermarker = None")
    with pytest.raises(WatermarkError) as caught:
        perth.Perth().present(SOUND)
    assert "setuptools<81" in caught.value.hint


# ── the registry ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_layers_come_by_name_each_once() -> None:
    layers = registry.second_layers([" dwtdctsvd", "rivagan", "trustmark", "Videoseal", "rivagan"])
    assert [layer.alg for layer in layers] == [
        "org.filigrana.dwtdctsvd.1",
        "org.filigrana.rivagan.1",
        "com.adobe.trustmark.Q",
        "org.filigrana.videoseal.1",
    ]
    assert registry.second_layers([]) == []
    with pytest.raises(WatermarkError) as caught:
        registry.second_layers(["rivagan", "stegano"])
    assert caught.value.code == "provenance.watermark.layer"
    assert all(name in caught.value.hint for name in ("dwtdctsvd", "rivagan", "trustmark", "videoseal"))


def test_every_layer_has_its_own_binding_value() -> None:
    layers = registry.second_layers(["dwtdctsvd", "rivagan", "trustmark", "videoseal"])
    assert [registry.binding_value(layer, ID) for layer in layers] == [
        str(ID),
        tags.tag_text(tags.tag_of(ID)),
        trustmark.binding_value(ID),
        str(ID),
    ]
    assert registry.binding_value(layers[1], ID, b"key") == tags.tag_text(tags.tag_of(ID, b"key"))


def test_a_layer_and_the_default_mark_read_side_by_side() -> None:
    original, default = scene(4), registry.codec()
    (layer,) = registry.second_layers(["dwtdctsvd"])
    marked = next(registry.mark_layers([layer], default.embed([Frame(original)], ID), ID)).rgb
    out = io.BytesIO()
    Image.fromarray(marked).save(out, "JPEG", quality=75)
    copy = np.asarray(Image.open(out).convert("RGB"))
    assert registry.read_layer(layer, [Frame(copy)], ID).reads
    assert look(default, copy).asset_id == ID
    assert not registry.read_layer(layer, [Frame(copy)], AssetId(ID.value ^ 1)).reads
    assert not registry.read_layer(layer, [Frame(original)], ID).reads


class TagDouble:
    """A tag codec that writes its tag into one pixel; ``wrong``: bits that it reads wrong."""

    alg, tag_bits = "double", 32

    def __init__(self, wrong: int = 0) -> None:
        self.wrong = wrong

    def embed(self, frames: Iterable[Frame], tag: int) -> Iterator[Frame]:
        for frame in frames:
            rgb = frame.rgb.copy()
            rgb[0, :4, 0] = list(tag.to_bytes(4, "big"))
            yield Frame(rgb, frame.time)

    def detect(self, frames: Iterable[Frame]) -> tags.TagDetection:
        word = int.from_bytes(bytes(next(iter(frames)).rgb[0, :4, 0]), "big") ^ self.wrong
        return tags.TagDetection(None, (word,), 0.0, 1.0, 0.0)


@pytest.mark.parametrize(("wrong", "reads"), [(0, True), (0b11, True), (0b111, False)])
def test_a_tag_is_read_back_by_its_asset_s_tag(wrong: int, reads: bool) -> None:
    layer = TagDouble(wrong)
    frames = list(registry.mark_layers([layer], [Frame(scene(1))], ID, b"key"))
    found = registry.read_layer(layer, frames, ID, b"key")
    assert found.reads is reads
    assert found.value == tags.tag_text(tags.tag_of(ID, b"key"))
    assert not registry.read_layer(layer, frames, ID).reads, "another key's tag is another tag"


def test_marking_layers_takes_one_frame_at_a_time() -> None:
    taken: list[int] = []

    def frames() -> Iterator[Frame]:
        for number in range(3):
            taken.append(number)
            yield Frame(scene(number, 64, 64))

    stream = registry.mark_layers([TagDouble(), TagDouble()], frames(), ID)
    next(stream)
    assert taken == [0]


# ── the real packages, where they are installed with their weights ───────────────────────────────────────────────
if optional.installed("trustmark") and all(
    (optional.folder_of("trustmark", "trustmark") / "models" / name).is_file() for name in trustmark._FILES
):

    @pytest.mark.generate
    def test_the_real_trustmark_reads_what_it_marked() -> None:
        codec = trustmark.TrustMark()
        assert look(codec, put(codec, scene(1), ID)).asset_id == ID
        assert look(codec, scene(1)).asset_id is None


if optional.installed("videoseal") and Path("ckpts", "y_256b_img.pth").is_file():

    @pytest.mark.generate
    def test_the_real_videoseal_reads_what_it_marked() -> None:
        codec = videoseal.VideoSeal()
        assert look(codec, put(codec, scene(1), ID)).asset_id == ID
        assert look(codec, scene(1)).asset_id is None


if optional.installed("perth") and optional.installed("torchaudio"):

    @pytest.mark.generate
    def test_the_real_perth_hears_what_it_marked() -> None:
        detector = perth.Perth()
        noise = np.random.default_rng(0).normal(0, 0.1, 4 * 32000).astype(np.float32)
        marked = detector._ready().apply_watermark(noise, sample_rate=32000)
        assert detector.present(SoundBlock(np.asarray(marked, np.float32)[:, None], 32000)) > 0.5
        assert detector.present(SoundBlock(noise[:, None], 32000)) < 0.5
