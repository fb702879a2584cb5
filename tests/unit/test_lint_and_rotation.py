"""Certificates that are wrong in one way each, and changing who signs: all or nothing, and old files stay trusted."""

from __future__ import annotations

import datetime as dt
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from typer.testing import CliRunner

from filigrana.errors import KeyStoreError, SettingsError
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.rekeying import rotate, take_in
from filigrana.pipeline.request import GenerateRequest, Release, SealRequest
from filigrana.pipeline.settings import load_settings
from filigrana.provenance import rotation
from filigrana.provenance.certificates import CLAIM_SIGNING, POLICY, make_claim_chain, make_tsa_chain
from filigrana.provenance.lint import lint, lint_chain
from filigrana.provenance.media import encode_picture
from filigrana.provenance.trust_store import TrustStore
from filigrana.tests.doubles import scene
from filigrana.tests.dying import Died, dying

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
EMAIL = ExtendedKeyUsageOID.EMAIL_PROTECTION
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a signer")])
OTHER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "its issuer")])


def usage(**on: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: on.get(name, False) for name in names})


def certificate(role: str = "leaf", **changes: Any) -> x509.Certificate:
    """A certificate that the profile finds nothing wrong with, but for ``changes``; None leaves an extension out."""
    issuing, authority = ec.generate_private_key(ec.SECP384R1()), role in ("root", "issuing")
    key = changes.get("key", issuing if role == "root" else ec.generate_private_key(ec.SECP256R1()))
    purposes = {
        "leaf": [CLAIM_SIGNING, EMAIL],
        "issuing": [CLAIM_SIGNING, EMAIL],
        "tsa": [ExtendedKeyUsageOID.TIME_STAMPING],
    }
    parts: dict[str, tuple[x509.ExtensionType | None, bool]] = {
        "basic": (x509.BasicConstraints(authority, {"root": 2, "issuing": 0}.get(role)), True),
        "usage": (
            usage(key_cert_sign=True, crl_sign=True)
            if authority
            else usage(digital_signature=True, content_commitment=role == "leaf"),
            True,
        ),
        "ski": (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        "aki": (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuing.public_key()), False),
        "eku": (x509.ExtendedKeyUsage(purposes[role]) if role in purposes else None, role == "tsa"),
        "policies": (
            x509.CertificatePolicies([x509.PolicyInformation(POLICY, None)]) if role == "leaf" else None,
            False,
        ),
    }
    parts |= {name: changes[name] for name in parts if name in changes}
    builder = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(changes.get("issuer", NAME if role == "root" else OTHER))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(changes.get("before", NOW - dt.timedelta(hours=1)))
        .not_valid_after(changes.get("after", NOW + dt.timedelta(days=80)))
    )
    for extension, critical in parts.values():
        if extension is not None:
            builder = builder.add_extension(extension, critical)
    return builder.sign(issuing, changes.get("digest", hashes.SHA384()))


ROLES = ("root", "issuing", "leaf", "tsa")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("level", ["AL1", "AL2"])
def test_nothing_is_wrong_with_what_the_profile_asks_for(role: Any, level: Any) -> None:
    assert lint(certificate(role), role, level=level, now=NOW) == []


def eku(*purposes: x509.ObjectIdentifier, critical: bool = False) -> tuple[x509.ExtensionType, bool]:
    return x509.ExtendedKeyUsage(purposes), critical


DAYS = dt.timedelta(days=1)
WRONG: dict[str, tuple[str, str, dict[str, Any]]] = {
    # name: role, the rule that must speak, what is changed
    "leaf is a CA": ("leaf", "basic-constraints", {"basic": (x509.BasicConstraints(True, None), True)}),
    "leaf's constraints are not critical": ("leaf", "basic-constraints", {"basic": (x509.BasicConstraints(False, None), False)}),
    "leaf without constraints": ("leaf", "basic-constraints", {"basic": (None, True)}),
    "leaf without key usage": ("leaf", "key-usage", {"usage": (None, True)}),
    "leaf's key usage is not critical": ("leaf", "key-usage", {"usage": (usage(digital_signature=True, content_commitment=True), False)}),
    "leaf cannot sign": ("leaf", "key-usage", {"usage": (usage(content_commitment=True), True)}),
    "leaf signs certificates": ("leaf", "key-usage", {"usage": (usage(digital_signature=True, content_commitment=True, key_cert_sign=True), True)}),
    "leaf without non-repudiation": ("leaf", "non-repudiation", {"usage": (usage(digital_signature=True), True)}),
    "leaf without purposes": ("leaf", "eku", {"eku": (None, False)}),
    "leaf for mail only": ("leaf", "eku", {"eku": eku(EMAIL)}),
    "leaf for claims only": ("leaf", "eku-email", {"eku": eku(CLAIM_SIGNING)}),
    "leaf for anything": ("leaf", "eku-forbidden", {"eku": eku(CLAIM_SIGNING, EMAIL, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)}),
    "leaf stamps too": ("leaf", "eku-forbidden", {"eku": eku(CLAIM_SIGNING, EMAIL, ExtendedKeyUsageOID.TIME_STAMPING)}),
    "leaf answers OCSP too": ("leaf", "eku-forbidden", {"eku": eku(CLAIM_SIGNING, EMAIL, ExtendedKeyUsageOID.OCSP_SIGNING)}),
    "leaf without policy": ("leaf", "policy", {"policies": (None, False)}),
    "leaf without subject key id": ("leaf", "ski", {"ski": (None, False)}),
    "leaf without authority key id": ("leaf", "aki", {"aki": (None, False)}),
    "leaf is valid too long": ("leaf", "validity", {"after": NOW + 367 * DAYS}),
    "leaf has expired": ("leaf", "dates", {"before": NOW - 9 * DAYS, "after": NOW - DAYS}),
    "leaf is not valid yet": ("leaf", "dates", {"before": NOW + DAYS}),
    "leaf with a short RSA key": ("leaf", "key", {"key": rsa.generate_private_key(65_537, 1024)}),  # noqa: S505  that is what is wrong with it
    "leaf on another curve": ("leaf", "key", {"key": ec.generate_private_key(ec.SECP256K1())}),
    "leaf with an old signature": ("leaf", "signature", {"digest": hashes.SHA224()}),
    "issuing CA is none": ("issuing", "basic-constraints", {"basic": (x509.BasicConstraints(False, None), True)}),
    "issuing CA issues CAs": ("issuing", "path-length", {"basic": (x509.BasicConstraints(True, 1), True)}),
    "issuing CA without limit": ("issuing", "path-length", {"basic": (x509.BasicConstraints(True, None), True)}),
    "issuing CA for everything": ("issuing", "eku", {"eku": (None, False)}),
    "issuing CA cannot sign": ("issuing", "key-usage", {"usage": (usage(crl_sign=True), True)}),
    "root over a long path": ("root", "path-length", {"basic": (x509.BasicConstraints(True, 5), True)}),
    "root is issued": ("root", "self-signed", {"issuer": OTHER}),
    "root is no CA": ("root", "basic-constraints", {"basic": (x509.BasicConstraints(False, None), True)}),
    "tsa for claims too": ("tsa", "eku", {"eku": eku(ExtendedKeyUsageOID.TIME_STAMPING, CLAIM_SIGNING, critical=True)}),
    "tsa's purpose is not critical": ("tsa", "eku", {"eku": eku(ExtendedKeyUsageOID.TIME_STAMPING)}),
    "tsa without purpose": ("tsa", "eku", {"eku": (None, False)}),
    "tsa is a CA": ("tsa", "basic-constraints", {"basic": (x509.BasicConstraints(True, None), True)}),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_certificate_that_is_wrong_in_one_way_is_told_that_one(name: str) -> None:
    role, rule, changes = WRONG[name]
    found = {problem.rule for problem in lint(certificate(role, **changes), role, now=NOW)}  # type: ignore[arg-type]
    assert found == {rule}


def test_ninety_days_are_the_most_for_the_second_level() -> None:
    year = certificate(after=NOW + 365 * DAYS)
    assert lint(year, "leaf", level="AL1", now=NOW) == []
    assert [p.rule for p in lint(year, "leaf", level="AL2", now=NOW)] == ["validity"]


def test_our_own_chains_pass(tmp_path: Path) -> None:
    chain = make_claim_chain(NOW)
    assert lint_chain([chain.leaf.certificate, chain.intermediate], now=NOW) == []
    assert lint(chain.root, "root", now=NOW) == []
    leaf, root = make_tsa_chain(NOW)
    assert lint_chain([leaf.certificate, root], now=NOW, tsa=True) == []


def test_a_chain_that_does_not_hang_together() -> None:
    chain, other = make_claim_chain(NOW), make_claim_chain(NOW)
    rules = {p.rule for _, p in lint_chain([chain.leaf.certificate, other.intermediate], now=NOW)}
    assert rules == {"chain"}
    shipped = {p.rule for _, p in lint_chain([chain.leaf.certificate, chain.intermediate, chain.root], now=NOW)}
    assert shipped == {"root"}
    assert "self-issued" in {p.rule for _, p in lint_chain([chain.root], now=NOW)}


# ── changing keys ────────────────────────────────────────────────────────────────────────────────────────────────
def sealed(make_engine: Callable[..., Engine], folder: Path, seed: int) -> Release:
    path = folder / f"in{seed}.jpg"
    path.write_bytes(encode_picture(scene(seed), "image/jpeg"))
    released = make_engine().seal(SealRequest(path, "camera"))
    assert isinstance(released, Release)
    return released


def test_files_of_old_keys_stay_trusted_after_a_rotation(
    make_engine: Callable[..., Engine], installation: Installation, tmp_path: Path
) -> None:
    before = sealed(make_engine, tmp_path, 1)
    done = rotate(installation, "es384")
    after = sealed(make_engine, tmp_path, 2)
    for released in (before, after):
        assert installation.verifier().verify(released.file).finding == "verified"
    assert done.old in rotation.old_leaves(installation.keys.folder)
    entry = installation.log.entry(done.log_index)
    assert (entry["type"], entry["old"], entry["new"]) == ("signing-key", done.old, done.new)
    assert all(path.stat().st_mode & 0o077 == 0 for path in installation.keys.folder.rglob("*"))


def test_a_process_that_runs_signs_with_a_key_that_another_one_took(
    make_engine: Callable[..., Engine], installation: Installation
) -> None:
    engine = make_engine()
    first = engine.generate(GenerateRequest("a red boat", seed=1))
    another = Installation(load_settings(data_dir=installation.folder))
    done = rotate(another)
    another.close()
    second = engine.generate(GenerateRequest("a red boat", seed=2))
    assert isinstance(first, Release)
    assert isinstance(second, Release)
    assert second.trust == "development"
    assert installation.keys.claim().leaf not in (None, done.old)
    for release in (first, second):
        assert installation.verifier().verify(release.file).finding == "verified"


def test_a_process_that_runs_believes_the_list_that_another_one_installed(installation: Installation) -> None:
    before = installation.trust
    root = make_claim_chain(NOW).root.public_bytes(serialization.Encoding.PEM)
    TrustStore(installation.folder / "trust").update("claim", root, NOW)
    assert root.decode() in [one.pem for one in installation.trust.claim]
    assert installation.trust != before


@pytest.mark.parametrize("step", range(12))
def test_a_rotation_that_dies_leaves_the_old_key_or_the_new_one(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Death at each change of the folder; the next who opens it finds one whole set."""
    installation.ensure_keys()
    before = installation.keys.claim().leaf
    counted: Any = dying(step)
    with monkeypatch.context() as patch:
        for name in ("link", "rename", "replace"):
            patch.setattr(os, name, counted(getattr(os, name)))
        patch.setattr(rotation, "write_private", counted(rotation.write_private))
        patch.setattr(rotation.shutil, "rmtree", counted(rotation.shutil.rmtree))
        try:
            rotate(installation)
            whole = True
        except Died:
            whole = False
    installation.ensure_keys()
    now = installation.keys.claim()  # key, leaf and chain belong together
    root = x509.load_pem_x509_certificate(installation.keys.development_root() or b"")
    issuing = x509.load_pem_x509_certificates(now.chain_pem.encode())[1]
    issuing.verify_directly_issued_by(root)
    assert not whole or now.leaf != before
    assert rotate(installation).old == now.leaf.fingerprint(hashes.SHA256()).hex()


def test_an_organisations_key_is_taken_in(make_engine: Callable[..., Engine], tmp_path: Path) -> None:
    chain = make_claim_chain(NOW)
    key, pem, root = tmp_path / "key.pem", tmp_path / "chain.pem", tmp_path / "root.pem"
    key.write_bytes(chain.leaf.key_pem(b"a secret"))
    key.chmod(0o600)
    pem.write_bytes(chain.leaf.certificate_pem() + chain.intermediate.public_bytes(serialization.Encoding.PEM))
    root.write_bytes(chain.root.public_bytes(serialization.Encoding.PEM))
    settings = load_settings(data_dir=tmp_path / "data", claim_trust=[root], key_passphrase="a secret")
    house = Installation(settings)
    done, problems = take_in(house, key, pem)
    assert problems == []
    assert not done.development
    assert not house.keys.claim().development
    assert b"ENCRYPTED" in (house.keys.folder / "claim.key").read_bytes()
    house.close()


@pytest.mark.parametrize("fault", ["another key", "expired", "no PEM", "open file", "not a file"])
def test_a_key_that_does_not_fit_is_not_taken_in(installation: Installation, tmp_path: Path, fault: str) -> None:
    installation.ensure_keys()
    before = installation.keys.claim().leaf
    chain = make_claim_chain(NOW - 800 * DAYS if fault == "expired" else NOW)
    key, pem = tmp_path / "key.pem", tmp_path / "chain.pem"
    other = make_claim_chain(NOW) if fault == "another key" else chain
    key.write_bytes(b"nothing" if fault == "no PEM" else other.leaf.key_pem())
    key.chmod(0o644 if fault == "open file" else 0o600)
    pem.write_bytes(chain.leaf.certificate_pem())
    if fault == "not a file":
        settings = load_settings(data_dir=installation.folder, signer="awskms:alias/x")
        with pytest.raises(SettingsError):
            rotate(Installation(settings))
        return
    with pytest.raises(KeyStoreError):
        take_in(installation, key, pem)
    assert installation.keys.claim().leaf == before


def test_the_commands(tmp_path: Path) -> None:
    def run(*words: str, code: int = 0) -> Any:
        done = CliRunner().invoke(app, ["--data-dir", str(tmp_path / "d"), "keys", *words, "--json"])
        assert done.exit_code == code, (done.output, done.exception)
        return json.loads(done.stdout)

    run("init")
    assert run("lint") == {"level": "AL1", "certificates": 2, "problems": []}
    assert [p["rule"] for p in run("lint", "--level", "AL2", code=5)["problems"]] == ["validity"]
    first = run("rotate", "--algorithm", "ed25519")
    second = run("rotate")
    assert second["old"] == first["new"]
    key, chain = tmp_path / "d" / "keys" / "old" / first["new"], tmp_path / "d" / "keys" / "claim.pem"
    back = run("import", "--key", str(key / "claim.key"), "--chain", str(key / "claim.pem"))
    assert back["new"] == first["new"]
    assert run("lint", str(chain))["certificates"] == 2


def test_whoever_verifies_while_the_keys_change_gets_a_finding(
    make_engine: Callable[..., Engine], installation: Installation, tmp_path: Path
) -> None:
    """The confined reader starts again with the new lists; the one before ends when nobody is at a file in it."""
    file = sealed(make_engine, tmp_path, 1).file
    before, reading, change = installation.inspector, threading.Event(), threading.Event()
    assert before.verify(file).finding == "verified"

    class Slow:
        name = "slow"

        def by_asset_id(self, ident: object) -> object:
            reading.set()
            change.wait(30)
            return None

        def __getattr__(self, name: str) -> Callable[..., object]:
            return lambda *_: self.by_asset_id(None) or []

    before._resolvers = lambda: [Slow()]  # type: ignore[assignment,list-item]
    with ThreadPoolExecutor(1) as pool:
        finding = pool.submit(before.verify, file)
        assert reading.wait(30)
        rotate(installation)
        after = installation.inspector
        assert after is not before
        change.set()
        assert finding.result().finding != "unreadable"
    assert after.verify(file).finding == "verified"
    assert before._isolated._running == [], "and the reader of before has ended"


def test_a_change_whose_process_died_before_the_log_had_it_is_told_by_the_next(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> int:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(installation.log, "append", dies)
        with pytest.raises(Died):
            rotate(installation)
    for _ in range(2):
        another = Installation(load_settings(data_dir=installation.folder))
        told = [entry for _, entry in another.log.entries() if entry["type"] == "signing-key"]
        leaf = another.keys.claim().leaf
        another.close()
    assert [entry["new"] for entry in told] == [leaf.fingerprint(hashes.SHA256()).hex()]
    assert told[0]["old"] in rotation.old_leaves(installation.keys.folder)
    assert rotate(installation).log_index == installation.log.size() - 1
