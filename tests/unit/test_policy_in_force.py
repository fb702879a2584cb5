"""Which policy is in force: signed, tested, whole, never older, and noticed when it changes."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filigrana.errors import PolicyError, SettingsError
from filigrana.pipeline.policies import PolicyInForce, judge_prompt
from filigrana.pipeline.policy_memory import FILE, PolicyMemory, ordered
from filigrana.pipeline.policy_signatures import (
    approval,
    approved_by,
    parse_signers,
    read_signature,
    sign_pack,
    signature_path,
    write_signature,
)
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.log.note import sign
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.safety.decision import PolicyRef, Verdict
from filigrana.safety.policy import parse_pack
from filigrana.tests.packs import data_of, small


def words(*bad: str, version: str = "1.0.0", **changes: Any) -> bytes:
    document = small(version=version, **changes)
    document["lists"]["bad"] = list(bad)
    document["rules"][0]["tests"]["match"] = [f"a {bad[0]}"]
    return data_of(document)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "pack.yaml"
    found.write_bytes(words("badword"))
    return found


def refused(policy: PolicyInForce) -> str:
    with pytest.raises(PolicyError) as caught:
        policy.current()
    return caught.value.code


@pytest.fixture
def policy(path: Path, tmp_path: Path) -> PolicyInForce:
    return PolicyInForce(str(path), memory=PolicyMemory(tmp_path / "data"))


# ── reloading ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_changed_pack_is_in_force_at_once(policy: PolicyInForce, path: Path) -> None:
    first = policy.current()
    assert policy.current() is first
    path.write_bytes(words("newword", version="1.0.1"))
    assert policy.current().ref.version == "1.0.1"
    assert first.ref.version == "1.0.0"  # whoever had it keeps it


def test_a_change_that_hides_from_the_clock_and_the_size_is_noticed(policy: PolicyInForce, path: Path) -> None:
    before, digest = path.stat(), policy.current().ref.digest
    path.write_bytes(words("badwork"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert policy.current().ref.digest != digest


BAD: dict[str, tuple[bytes | None, str]] = {
    "empty": (b"", "policy.invalid"),
    "half": (words("badword")[:200], "policy.invalid"),
    "an unknown key": (words("badword", typo=1), "policy.invalid"),
    "missing": (None, "policy.missing"),
    "too large": (b"# " + b"x" * (1 << 20), "policy.invalid"),
    "older": (words("badword", version="0.9.9"), "policy.older"),
    "fails its tests": (data_of(small(lists={"bad": ["nothing"], "other": ["x"]})), "policy.tests"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_policy_stops_everything_until_it_is_right(name: str, policy: PolicyInForce, path: Path) -> None:
    good, (data, code) = policy.current(), BAD[name]
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    assert refused(policy) == code
    assert refused(policy) == code  # and not only the first time
    path.write_bytes(words("badword"))
    assert policy.current().ref == good.ref


def test_an_older_pack_is_refused_after_a_restart_too(policy: PolicyInForce, path: Path, tmp_path: Path) -> None:
    path.write_bytes(words("badword", version="1.10.0"))
    policy.current()
    path.write_bytes(words("badword", version="1.9.0"))
    assert refused(PolicyInForce(str(path), memory=PolicyMemory(tmp_path / "data"))) == "policy.older"
    # Negative control: where nothing is remembered, it is only another pack.
    assert PolicyInForce(str(path), memory=PolicyMemory(tmp_path / "elsewhere")).current().ref.version == "1.9.0"


def test_another_process_that_has_a_newer_pack_stops_this_one(
    policy: PolicyInForce, path: Path, tmp_path: Path
) -> None:
    policy.current()
    newer = tmp_path / "newer.yaml"
    newer.write_bytes(words("badword", version="2.0.0"))
    PolicyInForce(str(newer), memory=PolicyMemory(tmp_path / "data")).current()
    assert refused(policy) == "policy.older"


def test_packs_of_different_ids_do_not_stand_in_each_others_way(policy: PolicyInForce, path: Path) -> None:
    path.write_bytes(words("badword", version="3.0.0"))
    policy.current()
    path.write_bytes(words("badword", id="another", version="0.1.0"))
    assert policy.current().ref.id == "another"


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"packs": {"test": {"version": "x", "digest": ""}}}', b'{"packs": 1}']
)
def test_a_damaged_memory_stops_everything(data: bytes, policy: PolicyInForce, tmp_path: Path) -> None:
    policy.current()
    (tmp_path / "data" / FILE).write_bytes(data)
    assert refused(policy) == "policy.memory"


def test_a_memory_that_cannot_be_written_stops_everything(path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert refused(PolicyInForce(str(path), memory=PolicyMemory(tmp_path / "file"))) == "policy.memory"


def test_many_threads_over_a_changing_file_see_whole_packs_only(policy: PolicyInForce, path: Path) -> None:
    seen: list[str] = []
    wrong: list[BaseException] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                seen.append(policy.current().ref.version)
            except PolicyError as error:
                wrong.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 15):
        draft = path.with_suffix(".new")
        draft.write_bytes(words("badword", version=f"1.0.{number}"))
        draft.replace(path)
    stop.wait(0.2)
    stop.set()
    for thread in threads:
        thread.join()
    # A thread that read just before a newer one was noted is refused as older; it is never given the older one.
    assert {error.code for error in wrong if isinstance(error, PolicyError)} <= {"policy.older"}
    assert seen[-1] == "1.0.14"


def test_the_library_call_follows_the_file(path: Path) -> None:
    assert judge_prompt("a badword", str(path)).verdict is Verdict.BLOCK
    path.write_bytes(words("otherwise"))
    assert judge_prompt("a badword", str(path)).verdict is Verdict.ALLOW
    path.unlink()
    with pytest.raises(PolicyError):
        judge_prompt("a badword", str(path))


@given(st.tuples(*[st.integers(0, 999_999_999)] * 3), st.tuples(*[st.integers(0, 999_999_999)] * 3))
def test_versions_are_ordered_as_numbers(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    texts = [".".join(map(str, version)) for version in (one, other)]
    assert (ordered(texts[0]) < ordered(texts[1])) == (one < other)


# ── signatures ───────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def editor(tmp_path: Path) -> Ed25519LogSigner:
    return Ed25519LogSigner.create(tmp_path / "editor.key", "editor.example.org")


@pytest.fixture
def lawyer(tmp_path: Path) -> Ed25519LogSigner:
    return Ed25519LogSigner.create(tmp_path / "lawyer.key", "lawyer.example.org")


def put_signature(path: Path, signer: Ed25519LogSigner) -> None:
    write_signature(path, sign_pack(parse_pack(path.read_bytes()).ref, signer, read_signature(path)))


def test_a_signed_pack_is_in_force_and_the_decision_says_who_approved_it(path: Path, editor: Ed25519LogSigner) -> None:
    put_signature(path, editor)
    pack = PolicyInForce(str(path), [str(editor.verifier_key)]).current()
    assert pack.ref.approved_by == (str(editor.verifier_key),)
    from filigrana.safety.judge import judge_text

    assert judge_text("a boat", pack).record()["policy"]["approved_by"] == [str(editor.verifier_key)]


def test_without_the_setting_nobody_is_said_to_have_approved(path: Path, editor: Ed25519LogSigner) -> None:
    put_signature(path, editor)
    ref = PolicyInForce(str(path)).current().ref
    assert ref.approved_by == ()
    assert "approved_by" not in ref.record()


def test_two_may_sign_and_both_are_named(path: Path, editor: Ed25519LogSigner, lawyer: Ed25519LogSigner) -> None:
    put_signature(path, editor)
    put_signature(path, lawyer)
    put_signature(path, lawyer)  # again changes nothing
    keys = [str(editor.verifier_key), str(lawyer.verifier_key)]
    assert PolicyInForce(str(path), keys).current().ref.approved_by == tuple(keys)
    assert PolicyInForce(str(path), keys[1:]).current().ref.approved_by == (keys[1],)


@pytest.mark.parametrize(
    "how", ["none", "other signer", "changed pack", "damaged", "flipped", "not text", "too large", "empty"]
)
def test_a_pack_without_a_good_signature_is_no_policy(
    how: str, path: Path, editor: Ed25519LogSigner, lawyer: Ed25519LogSigner
) -> None:
    policy = PolicyInForce(str(path), [str(editor.verifier_key)])
    put_signature(path, lawyer if how == "other signer" else editor)
    signature = signature_path(path)
    if how == "none":
        signature.unlink()
    elif how == "changed pack":
        path.write_bytes(words("badword", version="1.0.1"))
    elif how == "damaged":
        signature.write_text(signature.read_text()[:-20])
    elif how == "flipped":
        text = signature.read_text()
        at = text.index("editor.example.org ") + 40
        signature.write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :])
    elif how == "not text":
        signature.write_bytes(b"\xff\xfe")
    elif how == "too large":
        signature.write_bytes(b"x" * (1 << 20))
    elif how == "empty":
        signature.write_bytes(b"")
    assert refused(policy) == ("policy.unsigned" if how == "none" else "policy.signature")


def test_a_signature_that_is_taken_away_stops_a_running_process(path: Path, editor: Ed25519LogSigner) -> None:
    put_signature(path, editor)
    policy = PolicyInForce(str(path), [str(editor.verifier_key)])
    policy.current()
    signature_path(path).unlink()
    assert refused(policy) == "policy.unsigned"


def test_a_built_in_pack_is_not_signed_and_so_not_in_force(editor: Ed25519LogSigner) -> None:
    assert refused(PolicyInForce("newsroom", [str(editor.verifier_key)])) == "policy.unsigned"


def test_a_signature_under_anything_else_is_no_approval(path: Path, editor: Ed25519LogSigner) -> None:
    """A log's key that signs checkpoints has not approved a policy."""
    ref = parse_pack(path.read_bytes()).ref
    for text in (approval(ref).replace("policy-approval", "log"), "filigrana.org/log\n3\nAAAA\n"):
        with pytest.raises(PolicyError):
            approved_by(ref, sign(text, editor).encode(), [editor.verifier_key])


@given(st.binary(max_size=400))
def test_no_bytes_by_chance_are_an_approval(data: bytes) -> None:
    with pytest.raises(PolicyError):
        approved_by(PolicyRef("test", "1.0.0", "0" * 64), data, parse_signers([]))


@pytest.mark.parametrize("keys", [["nonsense"], ["a+00000000+AAAA"], [""]])
def test_what_is_no_key_is_no_setting(keys: list[str]) -> None:
    with pytest.raises(SettingsError):
        load_settings(policy_signers=keys)


# ── in the pipeline ──────────────────────────────────────────────────────────────────────────────────────────────
def test_a_pipeline_follows_the_pack_and_a_running_request_keeps_its_own(tmp_path: Path, path: Path) -> None:
    from filigrana.pipeline.api import Pipeline
    from filigrana.tests.doubles import FakeGenerator

    with Pipeline(load_settings(data_dir=tmp_path / "data", policy=str(path))) as pipeline:
        pipeline._generator = FakeGenerator()
        first = pipeline.engine
        assert pipeline.engine is first
        path.write_bytes(words("newword", version="1.1.0"))
        second = pipeline.engine
        assert (first.parts.pack.ref.version, second.parts.pack.ref.version) == ("1.0.0", "1.1.0")
        assert not pipeline.generate("a newword").released
        path.unlink()
        with pytest.raises(PolicyError):
            pipeline.generate("a boat")
        assert second.parts.pack.ref.version == "1.1.0"


def test_a_request_that_runs_is_judged_by_its_own_pack_to_the_end(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pack is replaced, and then broken, while the picture is being made."""
    from filigrana.pipeline import guards as installed
    from filigrana.pipeline.api import Pipeline
    from filigrana.provenance.media import Frame
    from filigrana.tests.doubles import FakeGenerator, FakeGuard, scene

    asked: list[list[str]] = []

    def frame_guards(names: list[str], *_: Any) -> list[FakeGuard]:
        asked.append(list(names))
        return [FakeGuard(name) for name in names]

    def swap(*_: Any) -> Any:
        requires = {"prompt": ["lexicon"], "generated": ["nsfw", "clip"], "sealed": ["nsfw"]}
        path.write_bytes(words("newword", version="1.1.0", requires=requires) if not asked else b"broken")
        return (Frame(scene(7)),)

    monkeypatch.setattr(installed, "frame_guards", frame_guards)
    with Pipeline(load_settings(data_dir=tmp_path / "data", policy=str(path))) as pipeline:
        pipeline._generator = FakeGenerator(fault=swap)
        first = pipeline.generate("a red boat", seed=7)
        assert first.released
        assert first.decision.policy.version == "1.0.0"
        second = pipeline.generate("a red boat", seed=8)
        assert (second.released, second.decision.policy.version) == (True, "1.1.0")
        assert asked == [["nsfw"], ["nsfw", "clip"]]
        with pytest.raises(PolicyError):
            pipeline.generate("a red boat", seed=9)


@pytest.mark.parametrize(
    "guards", [["nonsense"], ["llama-guard-3="], ["guard-of-mine=/x"], ["shieldgemma=/a", "shieldgemma=/b"]]
)
def test_a_guard_setting_with_a_mistake_is_an_error(guards: list[str]) -> None:
    with pytest.raises(SettingsError):
        load_settings(guards=guards)


def test_a_guard_that_the_pack_wants_and_that_cannot_be_loaded_means_review(tmp_path: Path) -> None:
    from filigrana.pipeline.text_guards import TextGuards
    from filigrana.safety.judge import judge_text
    from filigrana.tests.packs import pack_with_guard

    pack = pack_with_guard("moderation", "vcr", 0.5)
    none = TextGuards(load_settings()).of(pack.requires.prompt)
    assert none == []
    assert judge_text("a boat", pack, none).verdict is Verdict.REVIEW
    gone = TextGuards(load_settings(guards=["moderation=http://127.0.0.1:9/"], guard_timeout=2)).of(
        pack.requires.prompt
    )
    assert [guard.name for guard in gone] == ["moderation"]
    assert judge_text("a boat", pack, gone, timeout=5).verdict is Verdict.REVIEW
