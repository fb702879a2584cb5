"""Registered models: what is pinned, what is refused, and that nothing is loaded that is not what was pinned."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from filigrana.errors import FiligranaError, GenerationError, InputError
from filigrana.pipeline import kept_file
from filigrana.pipeline.generators import pins
from filigrana.pipeline.generators.diffusers import DiffusersGenerator
from filigrana.pipeline.generators.folder import EMBEDDED, ModelFolder
from filigrana.pipeline.generators.model_signature import Signer, fingerprint
from filigrana.pipeline.generators.registry import (
    Asked,
    PinnedFolder,
    add,
    checked_name,
    home_of,
    registered,
    remove,
    verified,
)
from filigrana.pipeline.generators.registry_file import RegistryFile
from filigrana.tests.model_kit import FILES, new_key, public_pem, sign, small_model, statement

UNSIGNED = Asked(unsigned=True)
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
Tamper = Callable[[Path], object]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model(tmp_path / "model")


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    pins._known.clear()
    yield
    pins._known.clear()


def code(call: Callable[[], object]) -> str:
    with pytest.raises(FiligranaError) as caught:
        call()
    return caught.value.code


# ── adding ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_every_file_is_pinned_and_the_digest_is_the_model_s_own(data: Path, model: Path) -> None:
    (model / ".git").mkdir()
    (model / ".git" / "config").write_text("x")
    (model / "unet" / ".hidden").write_text("counts")
    entry, again = add(data, "tiny", str(model), Asked("MIT", "https://example.org/data", unsigned=True))
    assert not again
    assert {one.path for one in entry.files} == {*FILES, "unet/.hidden"}
    assert entry.model.digest == ModelFolder(str(model)).model.digest
    assert (entry.model.licence, entry.model.training_data) == ("MIT", "https://example.org/data")
    assert entry.bytes == sum(map(len, FILES.values())) + 6
    assert entry.signature.status == "unsigned"
    assert registered(data) == [entry]
    assert (data / "models.json").stat().st_mode & 0o077 == 0
    assert json.loads((data / "models.json").read_text())["version"] == 1


def test_the_bar_is_told_bytes_that_only_grow(data: Path, model: Path) -> None:
    told: list[tuple[int, int]] = []
    entry, _ = add(data, "tiny", str(model), UNSIGNED, lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (entry.bytes, entry.bytes)
    told.clear()
    verified(entry, lambda done, total: told.append((done, total)))
    assert told[-1] == (entry.bytes, entry.bytes)


@pytest.mark.parametrize(
    "name",
    ["", "embedded", "Embedded", "ｅｍｂｅｄｄｅｄ", "a/b", "../x", "/etc", ".", "..", ".x", "-x", "a b", "a\\b", "C:", "a\0", "a\n", "‮a", "x" * 65, "\ud800"],
)  # fmt: skip
def test_names_that_are_paths_reserved_or_cannot_be_seen_are_refused(data: Path, model: Path, name: str) -> None:
    assert code(lambda: add(data, name, str(model), UNSIGNED)) == "input.model_name"
    assert not data.exists()


@pytest.mark.parametrize("name", ["sdxl-1.0_fp16", "模型", "हिन्दी", "modèle", "7b"])
def test_names_of_any_script_are_found_again(data: Path, model: Path, name: str) -> None:
    import unicodedata

    add(data, unicodedata.normalize("NFD", name), str(model), UNSIGNED)
    for form in ("NFC", "NFD"):
        home = home_of(unicodedata.normalize(form, name), data)
        assert isinstance(home, PinnedFolder)
    assert registered(data, unicodedata.normalize("NFD", name))[0].name == checked_name(name)


@pytest.mark.parametrize("pickle", ["unet/pytorch_model.bin", "model.ckpt", "x/y.PT"])
def test_pickles_are_refused_also_beside_safetensors(data: Path, model: Path, pickle: str) -> None:
    (model / pickle).parent.mkdir(exist_ok=True)
    (model / pickle).write_bytes(b"\x80")
    assert code(lambda: add(data, "tiny", str(model), UNSIGNED)) == "generate.unsafe_weights"
    assert registered(data) == []


def test_a_folder_without_weights_or_index_and_the_shipped_model_are_refused(data: Path, model: Path) -> None:
    assert code(lambda: add(data, "tiny", EMBEDDED, UNSIGNED)) == "input.model_name"
    assert code(lambda: add(data, "tiny", str(model / "unet"), UNSIGNED)) == "generate.no_model"
    assert code(lambda: add(data, "tiny", "nowhere", UNSIGNED)) == "generate.no_model"
    for path in model.rglob("*.safetensors"):
        path.unlink()
    assert code(lambda: add(data, "tiny", str(model), UNSIGNED)) == "generate.no_model"


@pytest.mark.parametrize("asked", [Asked("x" * 201), Asked("two\nlines"), Asked("", "\x1b[31m")])
def test_what_is_said_of_it_is_one_plain_line(data: Path, model: Path, asked: Asked) -> None:
    with pytest.raises(InputError):
        add(data, "tiny", str(model), asked)


def test_a_name_or_a_folder_is_registered_once(data: Path, model: Path, tmp_path: Path) -> None:
    first, _ = add(data, "tiny", str(model), UNSIGNED)
    other = small_model(tmp_path / "other")
    for name, source in (("tiny", other), ("Tiny", other), ("small", model)):
        assert code(partial(add, data, name, str(source), UNSIGNED)) == "generate.registered"
    assert registered(data) == [first]


def test_adding_again_pins_anew_and_keeps_what_is_known(data: Path, model: Path) -> None:
    add(data, "tiny", str(model), Asked("MIT", unsigned=True))
    (model / "unet" / "config.json").write_text("{ }")
    entry, again = add(data, "tiny", str(model), UNSIGNED)
    assert again
    assert entry.model.licence == "MIT"
    assert verified(entry).ok


def test_removing_forgets_and_deletes_nothing(data: Path, model: Path) -> None:
    add(data, "tiny", str(model), UNSIGNED)
    remove(data, "tiny")
    assert registered(data) == []
    assert (model / WEIGHTS).exists()
    assert code(lambda: remove(data, "tiny")) == "generate.no_model"
    assert type(home_of(str(model), data)) is ModelFolder


# ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────
def link_out(model: Path) -> None:
    (model.parent / "elsewhere").write_bytes(b"x")
    (model / "unet" / "extra.json").symlink_to(model.parent / "elsewhere")


def link_to_a_folder(model: Path) -> None:
    (model / "unet2").symlink_to(model / "unet", target_is_directory=True)


def link_to_nowhere(model: Path) -> None:
    (model / "gone.json").symlink_to(model / "never")


def link_in_a_circle(model: Path) -> None:
    (model / "a.json").symlink_to(model / "b.json")
    (model / "b.json").symlink_to(model / "a.json")


def a_pipe(model: Path) -> None:
    os.mkfifo(model / "pipe.json")


@pytest.mark.parametrize("make", [link_out, link_to_a_folder, link_to_nowhere, link_in_a_circle, a_pipe])
def test_links_out_of_the_folder_and_what_is_no_file_are_refused(data: Path, model: Path, make: Tamper) -> None:
    make(model)
    assert code(lambda: add(data, "tiny", str(model), UNSIGNED)) == "generate.unsafe_weights"


@pytest.mark.parametrize("make", [link_out, link_to_a_folder, link_to_nowhere, link_in_a_circle, a_pipe])
def test_such_things_are_additional_later(data: Path, model: Path, make: Tamper) -> None:
    entry, _ = add(data, "tiny", str(model), UNSIGNED)
    make(model)
    assert {one.change for one in verified(entry).differences} == {"additional"}
    assert code(lambda: home_of("tiny", data).model) == "generate.pinned"


def test_a_link_within_the_folder_counts_as_what_it_leads_to(data: Path, model: Path) -> None:
    (model / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    (model / "vae" / "diffusion_pytorch_model.safetensors").symlink_to(model / WEIGHTS)
    entry, _ = add(data, "tiny", str(model), UNSIGNED)
    assert verified(entry).ok
    (model / WEIGHTS).write_bytes(b"x" * len(FILES[WEIGHTS]))
    assert len(verified(entry).differences) == 2


def hub_cache(tmp_path: Path, name: str = "models--owner--tiny") -> Path:
    """A revision as the hub's cache lays it out: links into blobs."""
    repo = tmp_path / name
    (repo / "blobs").mkdir(parents=True)
    folder = small_model(repo / "snapshots" / "0123abc")
    for number, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        blob = repo / "blobs" / f"{number:04}"
        path.rename(blob)
        path.symlink_to(os.path.relpath(blob, path.parent))
    return folder


def test_links_of_the_hub_s_cache_are_followed_and_only_there(data: Path, tmp_path: Path) -> None:
    folder = hub_cache(tmp_path)
    entry, _ = add(data, "tiny", str(folder), UNSIGNED)
    assert {one.path for one in entry.files} == set(FILES)
    assert verified(entry).ok
    assert home_of("tiny", data).model.digest == entry.model.digest
    assert entry.model.digest == ModelFolder(str(small_model(tmp_path / "plain"))).model.digest
    blob = (folder / WEIGHTS).resolve()
    blob.write_bytes(blob.read_bytes()[::-1])
    assert [str(one) for one in verified(entry).differences] == [f"{WEIGHTS} (changed)"]
    # The same layout under a name that is no cache's, and a blob of another repository.
    assert code(lambda: add(data, "b", str(hub_cache(tmp_path, "owner")), UNSIGNED)) == "generate.unsafe_weights"
    third = hub_cache(tmp_path, "models--owner--third")
    (third / WEIGHTS).unlink()
    (third / WEIGHTS).symlink_to(blob)
    assert code(lambda: add(data, "c", str(third), UNSIGNED)) == "generate.unsafe_weights"


# ── what differs ─────────────────────────────────────────────────────────────────────────────────────────────────
def flip(model: Path) -> None:
    raw = bytearray((model / WEIGHTS).read_bytes())
    raw[-1] ^= 1
    (model / WEIGHTS).write_bytes(raw)


def flip_and_set_the_time_back(model: Path) -> None:
    times = os.stat(model / WEIGHTS)
    flip(model)
    os.utime(model / WEIGHTS, ns=(times.st_atime_ns, times.st_mtime_ns))


def a_folder_instead(model: Path) -> None:
    (model / "README.md").unlink()
    (model / "README.md").mkdir()


def a_link_instead(model: Path) -> None:
    (model / WEIGHTS).rename(model.parent / "weights")
    (model / WEIGHTS).symlink_to(model.parent / "weights")


TAMPERING: dict[str, tuple[Tamper, dict[str, str]]] = {
    "a bit of the weights": (flip, {WEIGHTS: "changed"}),
    "the same with the clock set back": (flip_and_set_the_time_back, {WEIGHTS: "changed"}),
    "longer": (lambda m: (m / WEIGHTS).write_bytes(FILES[WEIGHTS] + b"\0"), {WEIGHTS: "changed"}),
    "empty": (lambda m: (m / WEIGHTS).write_bytes(b""), {WEIGHTS: "changed"}),
    "a config": (lambda m: (m / "unet/config.json").write_text("[]\n"), {"unet/config.json": "changed"}),
    "a tokenizer": (lambda m: (m / "tokenizer/vocab.txt").write_text("b\na\n"), {"tokenizer/vocab.txt": "changed"}),
    "the card": (lambda m: (m / "README.md").unlink(), {"README.md": "missing"}),
    "weights gone": (lambda m: (m / WEIGHTS).unlink(), {WEIGHTS: "missing"}),
    "one more": (lambda m: (m / "unet/model.safetensors").write_bytes(b""), {"unet/model.safetensors": "additional"}),
    "code": (lambda m: (m / "pipeline.py").write_text("import os"), {"pipeline.py": "additional"}),
    "renamed": (
        lambda m: (m / "README.md").rename(m / "readme.md"),
        {"README.md": "missing", "readme.md": "additional"},
    ),
    "a folder in its place": (
        a_folder_instead,
        {"README.md": "missing"},
    ),
    "a link in its place": (
        a_link_instead,
        {WEIGHTS: "changed"},
    ),
}


@pytest.mark.parametrize("kind", TAMPERING)
def test_every_kind_of_tampering_is_named_and_loads_nothing(data: Path, model: Path, kind: str) -> None:
    entry, _ = add(data, "tiny", str(model), UNSIGNED)
    assert verified(entry).ok
    tamper, expected = TAMPERING[kind]
    tamper(model)
    found = verified(entry)
    assert not found.ok
    assert {one.file: one.change for one in found.differences} == expected
    for name in ("tiny", str(model), f"{model}/../model/"):
        home = home_of(name, data)
        for use in (lambda h: h.model, lambda h: h.index, lambda h: h.folder, lambda h: h.check()):
            with pytest.raises(GenerationError) as caught:
                use(home)
            assert caught.value.code == "generate.pinned"
            assert next(iter(expected)) in caught.value.message
            assert "models verify tiny" in caught.value.hint
    remove(data, "tiny")  # negative control: without the pins nothing of it is noticed here
    if (model / WEIGHTS).exists():
        home_of(str(model), data).check()


def test_what_cannot_be_read_is_named(data: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, _ = add(data, "tiny", str(model), UNSIGNED)

    def broken(*_: Any, **__: Any) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(pins, "digest", broken)
    assert {one.change for one in verified(entry).differences} == {"unreadable"}
    assert code(lambda: home_of("tiny", data).check()) == "generate.pinned"


def test_a_file_that_changes_while_it_is_read_is_not_pinned(data: Path, model: Path) -> None:
    def meddle(_done: int, _total: int) -> None:
        with (model / "README.md").open("ab") as stream:
            stream.write(b"x")

    assert code(lambda: add(data, "tiny", str(model), UNSIGNED, meddle)) == "generate.no_model"
    assert registered(data) == []


def test_a_folder_that_was_moved_away(data: Path, model: Path) -> None:
    entry, _ = add(data, "tiny", str(model), UNSIGNED)
    model.rename(model.parent / "moved")
    found = verified(entry)
    assert found.problem is not None
    assert {one.file for one in found.differences} == set(FILES)
    for name in ("tiny", str(model)):
        with pytest.raises(GenerationError, match="is not there"):
            home_of(name, data).check()


def test_a_registered_name_comes_before_a_folder_of_that_name(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(data, "tiny", str(model), UNSIGNED)
    small_model(tmp_path / "cwd" / "tiny")
    monkeypatch.chdir(tmp_path / "cwd")
    assert home_of("tiny", data).folder == model
    assert type(home_of("./tiny", data)) is ModelFolder


# ── the cache of this process ────────────────────────────────────────────────────────────────────────────────────
def test_untouched_files_are_hashed_once_and_touched_ones_again(
    data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, _ = add(data, "tiny", str(model), UNSIGNED)
    read: list[str] = []
    real = Path.open

    def counted(path: Path, *given: Any, **options: Any) -> Any:
        read.append(path.name)
        return real(path, *given, **options)

    monkeypatch.setattr(Path, "open", counted)

    def hashed() -> int:
        read.clear()
        home_of("tiny", data).check()
        return len(read) - read.count("models.json")

    assert hashed() == len(FILES), "files so young may have changed within one tick of the clock"
    monkeypatch.setattr(pins, "_SETTLED", -1)
    assert hashed() == len(FILES)
    assert hashed() == 0
    os.utime(model / "README.md")
    assert hashed() == 1
    flip_and_set_the_time_back(model)
    assert code(hashed) == "generate.pinned"
    read.clear()
    verified(entry)
    assert len(read) >= len(FILES), "`models verify` reads all"


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_registry_cut_anywhere_loads_no_model_but_the_embedded_one(data: Path, model: Path) -> None:
    add(data, "tiny", str(model), UNSIGNED)
    path = data / "models.json"
    whole = path.read_bytes()
    for length in {0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 2}:
        path.write_bytes(whole[:length])
        for call in (
            lambda: home_of("tiny", data),
            lambda: home_of(str(model), data),
            lambda: add(data, "other", str(model), UNSIGNED),
            lambda: remove(data, "tiny"),
        ):
            assert code(call) == "generate.registry"
        assert path.read_bytes() == whole[:length], "what is left of it stays"
        assert type(home_of(EMBEDDED, data)) is ModelFolder


def changed(whole: dict[str, Any], *place: Any, to: Any) -> dict[str, Any]:
    at = whole
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = to
    return whole


TINY = ("models", "tiny")


@pytest.mark.parametrize(
    ("place", "to"),
    [
        (("version",), 2), (("version",), "1"), (("models",), []), (TINY, None), ((*TINY, "folder"), "relative"),
        ((*TINY, "files"), []), ((*TINY, "files"), {}), ((*TINY, "files", 0, "sha256"), "00"),
        ((*TINY, "files", 0, "sha256"), "zz"), ((*TINY, "files", 0, "size"), True), ((*TINY, "files", 0, "path"), 1),
        ((*TINY, "signature", "status"), "fine"), ((*TINY, "signature", "status"), "verified"),
        ((*TINY, "model", "digest"), None), ((*TINY, "added"), 0), ((*TINY, "signature", "signer"), {}),
    ],
)  # fmt: skip
def test_a_registry_that_says_what_cannot_be_is_not_believed(
    data: Path, model: Path, place: tuple[Any, ...], to: Any
) -> None:
    add(data, "tiny", str(model), UNSIGNED)
    path = data / "models.json"
    path.write_text(json.dumps(changed(json.loads(path.read_text()), *place, to=to)))
    assert code(lambda: home_of("tiny", data)) == "generate.registry"


def test_what_is_written_is_what_is_read(data: Path, model: Path) -> None:
    key = new_key()
    sign(model, key)
    odd = os.fsdecode(b"unet/caf\xe9.json")
    entry, _ = add(data, "tiny", str(model), Asked("MIT", "ünï", Signer(public_key=public_pem(key))))
    assert RegistryFile(data).read() == {"tiny": entry}
    (model / "model.sig").unlink()
    remove(data, "tiny")
    (model / odd).write_bytes(b"{}")
    entry, _ = add(data, "tiny", str(model), UNSIGNED)
    assert odd in {one.path for one in registered(data)[0].files}
    assert verified(entry).ok


ADDS = """
import sys
from pathlib import Path
from filigrana.pipeline.generators.registry import Asked, add
for number in range(3):
    add(Path(sys.argv[1]), f"{sys.argv[2]}-{number}", f"{sys.argv[3]}/{number}", Asked(unsigned=True))
"""


def test_processes_that_add_at_once_lose_nothing(data: Path, tmp_path: Path) -> None:
    children = []
    for who in "ab":
        for number in range(3):
            small_model(tmp_path / who / str(number))
        words = [sys.executable, "-c", ADDS, str(data), who, str(tmp_path / who)]
        children.append(subprocess.Popen(words, cwd="/"))
    assert [child.wait(120) for child in children] == [0, 0]
    assert {one.name for one in registered(data)} == {f"{who}-{number}" for who in "ab" for number in range(3)}


@pytest.mark.parametrize("locked", [True, False])
def test_a_change_waits_for_the_one_before_it(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    """Without the lock (the negative control) one of the two is lost."""
    if not locked:
        monkeypatch.setattr(kept_file, "fcntl", None)
    other = threading.Thread(target=add, args=(data, "second", str(small_model(tmp_path / "other")), UNSIGNED))
    entry, _ = add(data, "first", str(model), UNSIGNED)
    with RegistryFile(data).change() as entries:
        other.start()
        other.join(1.5)
        assert other.is_alive() == locked
        entries["third"] = entry
    other.join(60)
    assert ("second" in {one.name for one in registered(data)}) == locked


# ── signatures ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_who_signed_is_pinned_with_the_key(data: Path, model: Path) -> None:
    key = new_key()
    sign(model, key)
    entry, _ = add(data, "tiny", str(model), Asked(signer=Signer(public_key=public_pem(key))))
    assert entry.signature.status == "verified"
    assert entry.signature.key == fingerprint(key.public_key())
    assert "model.sig" not in {one.path for one in entry.files}
    assert verified(entry).ok
    # The key that is known is asked for again, without its being given.
    assert add(data, "tiny", str(model))[0].signature == entry.signature
    sign(model, new_key())
    assert "another key" in (verified(entry).signature_problem or "")
    assert code(lambda: add(data, "tiny", str(model))) == "generate.signature"
    (model / "model.sig").unlink()
    assert verified(entry).signature_problem == "model.sig is missing"
    assert code(lambda: add(data, "tiny", str(model), UNSIGNED)) == "generate.unsigned"
    assert registered(data) == [entry]


def test_nobody_s_signature_must_be_asked_for(data: Path, model: Path) -> None:
    assert code(lambda: add(data, "tiny", str(model))) == "generate.unsigned"
    given = Asked(signer=Signer(public_key=public_pem(new_key())))
    assert code(lambda: add(data, "tiny", str(model), given)) == "generate.unsigned"
    with pytest.raises(InputError):
        add(data, "tiny", str(model), Asked(signer=given.signer, unsigned=True))
    assert registered(data) == []


@pytest.mark.parametrize("asked", [Asked(), UNSIGNED])
def test_without_a_key_it_is_signed_and_not_checked(data: Path, model: Path, asked: Asked) -> None:
    sign(model, new_key())
    entry, _ = add(data, "tiny", str(model), asked)
    assert entry.signature.status == "signed, not checked"
    assert verified(entry).ok
    (model / "model.sig").unlink()
    assert not verified(entry).ok


def resign_less(model: Path, key: Any) -> None:
    sign(model, key, leave_out=[WEIGHTS])


def resign_more(model: Path, key: Any) -> None:
    (model / "more.json").write_text("{}")
    sign(model, key)
    (model / "more.json").unlink()


def resign_other(model: Path, key: Any) -> None:
    sign(model, key)
    (model / "unet" / "config.json").write_text("[]")


def garbage(model: Path, _key: Any) -> None:
    (model / "model.sig").write_bytes(b"\xff\x00")


def empty(model: Path, _key: Any) -> None:
    (model / "model.sig").touch()


def a_folder(model: Path, _key: Any) -> None:
    (model / "model.sig").mkdir()


def nowhere(model: Path, _key: Any) -> None:
    (model / "model.sig").symlink_to("never")


def huge(model: Path, key: Any) -> None:
    os.truncate(sign(model, key), (16 << 20) + 1)


@pytest.mark.parametrize("spoil", [resign_less, resign_more, resign_other, garbage, empty, a_folder, nowhere, huge])
@pytest.mark.parametrize("keyed", [True, False])
def test_a_signature_that_is_wrong_is_refused_always(
    data: Path, model: Path, tmp_path: Path, spoil: Callable[[Path, Any], None], keyed: bool
) -> None:
    key = new_key()
    good = small_model(tmp_path / "good")
    add(data, "good", str(good), UNSIGNED)
    for folder in (model, good):
        spoil(folder, key)
    asked = Asked(signer=Signer(public_key=public_pem(key))) if keyed else UNSIGNED
    assert code(lambda: add(data, "tiny", str(model), asked)) == "generate.signature"
    found = verified(registered(data, "good")[0])
    assert found.signature_problem is not None or spoil is resign_other  # there a file differs from what was pinned
    assert not found.ok


def test_what_a_signer_may_leave_out(data: Path, model: Path) -> None:
    key = new_key()
    (model / ".gitattributes").write_text("x")
    said = statement(model)["predicate"]
    for ignored, works in (("README.md", True), ("unet/config.json", False)):
        said["serialization"]["ignore_paths"] = [ignored]
        left = statement(model, [ignored, ".gitattributes"])
        predicate = left["predicate"] | {"serialization": said["serialization"]}
        sign(model, key, [ignored, ".gitattributes"], predicate=predicate)
        asked = Asked(signer=Signer(public_key=public_pem(key)))
        if works:
            assert add(data, "tiny", str(model), asked)[0].signature.status == "verified"
            remove(data, "tiny")
        else:
            assert code(partial(add, data, "tiny", str(model), asked)) == "generate.signature"


# ── a real pipeline ──────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.generate
@pytest.mark.slow
def test_a_registered_name_generates_and_a_changed_file_stops_it(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra `generate`")
    from filigrana.pipeline.api import Pipeline
    from filigrana.pipeline.generators.base import Sampling
    from filigrana.pipeline.settings import load_settings
    from tests.tiny_shots import tiny_shots

    folder = tmp_path / "shots"
    tiny_shots(["a red ball bounces"]).save_pretrained(folder, safe_serialization=True)
    entry, _ = add(data, "shots", str(folder), Asked("CC0-1.0", "made here", unsigned=True))
    wanted = Sampling(prompt="a red ball", seed=3, steps=2, size=(256, 256))
    plain = next(iter(DiffusersGenerator(str(folder)).generate(wanted, lambda *_: None).frames)).rgb
    with Pipeline(load_settings(data_dir=data, model="shots")) as pipeline:
        generator = pipeline.generator
        assert (generator.model.licence, generator.model.training_data) == ("CC0-1.0", "made here")
        assert generator.model.digest == entry.model.digest
        made = next(iter(generator.generate(wanted, lambda *_: None).frames)).rgb
    assert (made == plain).all()
    config = next(folder.rglob("scheduler_config.json"))
    with Pipeline(load_settings(data_dir=data, model="shots")) as pipeline:
        assert pipeline.generator.kinds  # looked at while all was well; loaded only later
        config.write_text(config.read_text() + " ")
        with pytest.raises(GenerationError) as caught:
            pipeline.generator.generate(wanted, lambda *_: None)
        assert caught.value.code == "generate.pinned"
        assert "scheduler_config.json (changed)" in caught.value.message
    with Pipeline(load_settings(data_dir=data, model=str(folder))) as pipeline:
        for use in (lambda g: g.kinds, lambda g: g.model, lambda g: g.unknown_words("a boat")):
            assert code(partial(use, pipeline.generator)) == "generate.pinned"
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert DiffusersGenerator(home_of(str(copy), data)).kinds  # a copy elsewhere is not registered
