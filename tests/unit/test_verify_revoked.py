"""What the verifier says of files whose signing key was withdrawn: released ones, re-signed ones, and a thief's."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import pytest
from PIL import Image

from filigrana.errors import ManifestError
from filigrana.pipeline import recall
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.rekeying import rotate
from filigrana.pipeline.request import Release
from filigrana.provenance.finding import Finding
from filigrana.provenance.manifest import definition
from filigrana.provenance.media import encode_picture
from filigrana.provenance.signers import FileSigner
from filigrana.provenance.signing import sign_file
from filigrana.tests.doubles import scene
from filigrana.tests.serving import engine
from filigrana.tests.signing_kit import statement


def sealed(made: Engine, folder: Path, seed: int) -> Release:
    from filigrana.pipeline.request import SealRequest

    path = folder / f"in{seed}.jpg"
    path.write_bytes(encode_picture(scene(seed), "image/jpeg"))
    released = made.seal(SealRequest(path, "camera"))
    assert isinstance(released, Release)
    return released


def revoked_said(finding: Finding) -> bool:
    return any(e.technique == "c2pa.revocation" and e.status == "failed" for e in finding.evidence)


@pytest.fixture
def stolen(installation: Installation, tmp_path: Path) -> tuple[Release, Release, Path]:
    """(released before the theft, released within it, a thief's file), with the key withdrawn from the second on."""
    made = engine(installation)
    before, within = sealed(made, tmp_path, 1), sealed(made, tmp_path, 2)
    thief, source = tmp_path / "thief.jpg", tmp_path / "source.jpg"
    source.write_bytes(encode_picture(scene(9), "image/jpeg"))
    with installation.tsa() as url:
        manifest = definition(statement("image/jpeg", bindings=()))
        sign_file(source, thief, "image/jpeg", manifest, FileSigner(installation.keys.claim()), tsa_url=url)
    assert installation.verifier().verify(thief).finding == "verified", "control: nobody knows of the theft yet"
    old = rotate(installation).old
    assert old is not None
    recall.revoke(installation, first=within.log.index, last=None, reason="stolen laptop", certificate=old)
    return before, within, thief


def test_what_was_signed_before_the_theft_stands(
    installation: Installation, stolen: tuple[Release, Release, Path]
) -> None:
    finding = installation.inspector.verify(stolen[0].file)
    assert finding.finding == "verified"
    assert not revoked_said(finding)


def test_what_was_signed_within_it_is_no_longer_verified(
    installation: Installation, stolen: tuple[Release, Release, Path]
) -> None:
    finding = installation.inspector.verify(stolen[1].file)
    assert finding.finding == "intact"
    assert revoked_said(finding)
    assert any("stolen laptop" in line for line in finding.telling().explanation)


def test_a_thief_s_file_that_no_catalog_knows_is_not_verified(
    installation: Installation, stolen: tuple[Release, Release, Path]
) -> None:
    finding = installation.inspector.verify(stolen[2])
    assert finding.finding == "intact"
    assert revoked_said(finding)


def test_as_of_a_time_before_anybody_knew(installation: Installation, stolen: tuple[Release, Release, Path]) -> None:
    """A time of validation is about what was known by then."""
    resolver, ident = installation.resolvers()[0], stolen[1].asset_id
    now = dt.datetime.now(dt.UTC)
    assert resolver.revoked(ident, now + dt.timedelta(minutes=1)) is not None
    assert resolver.revoked(ident, now - dt.timedelta(days=1)) is None


def test_signed_again_it_is_verified_and_its_old_copies_are_not(
    installation: Installation, stolen: tuple[Release, Release, Path], tmp_path: Path
) -> None:
    old_copy, stripped = tmp_path / "old.jpg", tmp_path / "stripped.jpg"
    shutil.copy(stolen[1].file, old_copy)
    assert {item.status for item in recall.resign(installation)} == {"signed again"}
    again = installation.inspector.verify(stolen[1].file)
    assert again.finding == "verified"
    assert not revoked_said(again)
    old = installation.inspector.verify(old_copy)
    assert old.finding == "intact"
    assert revoked_said(old)
    with Image.open(old_copy) as picture:
        picture.convert("RGB").save(stripped, "JPEG", quality=85)
    found = installation.inspector.verify(stripped)
    assert found.finding == "recovered"
    status = {e.technique: e.status for e in found.evidence}
    assert status["manifest"] == "ok", "the catalog hands out the new manifest"


def test_a_withdrawn_key_signs_nothing_more(installation: Installation, tmp_path: Path) -> None:
    made = engine(installation)
    released = sealed(made, tmp_path, 1)
    recall.revoke(installation, first=released.log.index, last=None, reason="stolen laptop")
    with pytest.raises(ManifestError) as refused:
        sealed(engine(installation), tmp_path, 2)
    assert refused.value.code == "provenance.signer.revoked"
    rotate(installation)
    assert installation.inspector.verify(sealed(engine(installation), tmp_path, 3).file).finding == "verified"
