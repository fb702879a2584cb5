"""`filigrana verify` as a tool: folders, addresses, other catalogs, another time, reports, trust lists; and files of
other makers, hostile ones among them."""

from __future__ import annotations

import io
import json
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import c2pa
import pytest
from PIL import Image, PngImagePlugin
from typer.testing import CliRunner, Result

from filigrana.errors import FiligranaError, SettingsError
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.media import encode_picture
from filigrana.provenance.remote import RemoteResolver
from filigrana.provenance.signers.file import FileSigner
from filigrana.provenance.trust import base_settings
from filigrana.provenance.trust_store import TrustStore
from filigrana.tests.doubles import scene
from filigrana.tests.serving import engine, installed, running
from filigrana.tests.signing_kit import Kit

XSS = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'; DROP TABLE assets; --\u202egpj.exe{trust}"


def shell(*arguments: object, code: int | None = None) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)
    if code is not None:
        assert result.exit_code == code, (result.output, result.exception)
    return result


def answer(*arguments: object, code: int | None = None) -> Any:
    return json.loads(shell(*arguments, "--json", code=code).stdout)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Release, Path]]:
    """Another organisation's installation, with one release and a stripped copy of it."""
    folder = tmp_path_factory.mktemp("there")
    opened = installed(folder / "data")
    outcome = engine(opened).generate(GenerateRequest("a red sailboat", seed=4, mime="image/png"))
    assert isinstance(outcome, Release)
    copy = folder / "copy.jpg"
    with Image.open(outcome.file) as picture:
        picture.convert("RGB").save(copy, "JPEG", quality=80)
    yield opened, outcome, copy
    opened.close()


@pytest.fixture(scope="module")
def catalog(there: tuple[Installation, Release, Path]) -> Iterator[str]:
    with running(there[0]) as url:
        yield url


# ── another catalog ──────────────────────────────────────────────────────────────────────────────────────────────
def test_a_copy_is_led_back_by_a_catalog_elsewhere(there: tuple[Installation, Release, Path], catalog: str) -> None:
    _, release, copy = there
    assert answer("verify", copy, code=4)[0]["finding"] == "unmarked"
    found = answer("verify", copy, "--catalog", catalog, code=7)[0]
    assert (found["finding"], found["asset_id"], found["match"]) == ("recovered", str(release.asset_id), "same")
    status = {e["technique"]: e["status"] for e in found["evidence"]}
    assert status["manifest"] == "warning", "its signer is not trusted here"
    assert status["log"] == "warning", "its log's key is known from the catalog alone"
    assert found["record"]["catalog"].startswith("the catalog at 127.0.0.1")


def test_a_log_key_that_is_known_makes_the_log_s_proof_count(
    there: tuple[Installation, Release, Path], catalog: str
) -> None:
    opened, _, copy = there
    key = opened.log.keys[0]
    found = answer("verify", copy, "--catalog", f"{catalog} {key}", code=7)[0]
    assert {e["technique"]: e["status"] for e in found["evidence"]}["log"] == "ok"


def test_a_wrong_log_key_contradicts(
    there: tuple[Installation, Release, Path], catalog: str, installation: Installation
) -> None:
    found = answer("verify", there[2], "--catalog", f"{catalog} {installation.log.keys[0]}", code=5)[0]
    assert found["finding"] == "contradicted"


def test_a_catalog_out_of_reach_is_said_and_changes_nothing(there: tuple[Installation, Release, Path]) -> None:
    found = answer("verify", there[2], "--catalog", "http://127.0.0.1:9", code=4)[0]
    assert any("cannot be asked" in e["detail"] for e in found["evidence"])


class _Lying(BaseHTTPRequestHandler):
    body = b""
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Location", "http://127.0.0.1:1/")
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""), (302, b""), (200, b"no json"), (200, b"[]"), (200, b"{}"), (200, b'{"asset": 5}'), (200, b"[" * 100_000),
        (200, b'{"asset": {"asset_id": "../../x"}}'), (200, b" " * (9 << 20)),
    ],
)  # fmt: skip
def test_a_catalog_that_answers_nonsense_knows_nothing(
    there: tuple[Installation, Release, Path], status: int, body: bytes
) -> None:
    handler = type("Handler", (_Lying,), {"status": status, "body": body})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        found = answer("verify", there[2], "--catalog", f"http://127.0.0.1:{server.server_address[1]}", code=4)[0]
    finally:
        server.shutdown()
        server.server_close()
    assert found["finding"] == "unmarked"
    assert any(e["technique"] == "catalog" and e["status"] in ("warning", "absent") for e in found["evidence"])


def test_a_manifest_that_does_not_name_the_mark_contradicts(
    there: tuple[Installation, Release, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A matcher checks that what it was handed carries what it looked up."""
    opened, release, copy = there
    kit = Kit.make(tmp_path)
    kit.picture(tmp_path)
    from filigrana.provenance.manifest import definition
    from filigrana.provenance.records import StoredManifest
    from filigrana.tests.signing_kit import statement

    source, target = tmp_path / "s.jpg", tmp_path / "t.jpg"
    source.write_bytes(encode_picture(scene(2), "image/jpeg"))
    other = kit.sign(source, target, "image/jpeg", definition(statement(asset_id=release.asset_id)))
    resolver = opened.resolvers()[0]
    monkeypatch.setattr(resolver, "manifest", lambda _id: StoredManifest("urn:c2pa:other", other))
    verifier = opened.verifier()
    monkeypatch.setattr(
        verifier, "_observer", __import__("dataclasses").replace(verifier._observer, resolvers=(resolver,))
    )
    finding = verifier.verify(copy)
    assert finding.finding == "contradicted"
    assert any("does not name the mark" in e.detail for e in finding.evidence)


@pytest.mark.parametrize("text", ["", "ftp://x", "http://", "x", "http://[::1", "https://x not-a-key"])
def test_what_is_no_catalog_is_refused(text: str) -> None:
    with pytest.raises(FiligranaError):
        RemoteResolver.from_setting(text)


# ── folders, addresses, times ────────────────────────────────────────────────────────────────────────────────────
def test_a_folder_is_looked_through(there: tuple[Installation, Release, Path], tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    shutil.copy(there[2], tmp_path / "in" / "a.jpg")
    shutil.copy(there[1].file, tmp_path / "in" / "deep" / "b.png")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    found = answer("verify", tmp_path / "in", code=4)
    assert [Path(f["file"]).name for f in found] == ["a.jpg", "b.png"]
    assert [f["finding"] for f in found] == ["unmarked", "intact"]


def test_a_folder_without_media_is_unreadable_and_keeps_nobody_from_the_others(
    there: tuple[Installation, Release, Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    found = answer("verify", tmp_path / "empty", there[2], code=6)
    assert [f["finding"] for f in found] == ["unreadable", "unmarked"]


def test_an_address_is_fetched_only_on_request(
    there: tuple[Installation, Release, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = type("Handler", (_Lying,), {"body": there[1].file.read_bytes()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/boat.png"
    try:
        assert isinstance(shell("verify", url, code=1).exception, FiligranaError)
        assert isinstance(shell("verify", "--url", url, code=1).exception, FiligranaError), (
            "loopback is no public address"
        )
        monkeypatch.setenv("FILIGRANA_FETCH_ALLOW", json.dumps([f"127.0.0.1:{server.server_address[1]}"]))
        found = answer("verify", "--url", url, code=3)[0]
    finally:
        server.shutdown()
        server.server_close()
    assert (found["file"], found["finding"]) == (url, "intact")


def test_as_of_another_time(there: tuple[Installation, Release, Path]) -> None:
    file, data = there[1].file, there[0].folder
    assert answer("--data-dir", data, "verify", file, code=0)[0]["finding"] == "verified"
    early = answer("--data-dir", data, "verify", file, "--at", "2020-01-01T00:00:00Z", code=3)[0]
    assert early["finding"] == "intact"
    assert early["at"] == "2020-01-01T00:00:00+00:00"
    assert answer("--data-dir", data, "verify", file, "--at", "2060-01-01", code=0)[0]["finding"] == "verified"


@pytest.mark.parametrize("text", ["yesterday", "1969-01-01", "9999-01-01", "2026-13-01"])
def test_a_time_that_is_none_is_an_error(text: str, tmp_path: Path) -> None:
    assert isinstance(shell("verify", tmp_path / "x", "--at", text, code=1).exception, FiligranaError)


def test_crjson_is_what_a_conformance_harness_reads(there: tuple[Installation, Release, Path]) -> None:
    found = json.loads(shell("verify", there[1].file, there[2], "--crjson").stdout)
    assert found[0]["crjson"]["manifests"]
    assert found[1]["crjson"] is None


def test_other_languages_and_brief_words(there: tuple[Installation, Release, Path]) -> None:
    for language in ("en", "zh"):
        said = shell("verify", there[2], "--lang", language, "--brief", code=4).stdout
        assert "UNMARKED" in said
        assert "c2pa.signature" not in said


def test_a_language_that_is_not_there_is_an_error(there: tuple[Installation, Release, Path]) -> None:
    assert isinstance(shell("verify", there[2], "--lang", "xx", code=1).exception, FiligranaError)


# ── the report ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_report_stands_alone(there: tuple[Installation, Release, Path], tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    shell("--data-dir", there[0].folder, "verify", there[1].file, there[2], "--html", target, code=7)
    page = target.read_text("utf-8")
    assert page.count("<article>") == 2
    assert page.count("data:image/jpeg;base64,") == 3, "two files, and the original of the copy"
    assert not re.search(r'(src|href)="(?!data:)', page), "nothing is loaded from elsewhere"
    assert "<script" not in page


def signed_by_others(folder: Path, kit: Kit, definition: dict[str, Any], *components: bytes) -> Path:
    claim, out = kit.keys.claim(), io.BytesIO()
    signer = c2pa.Signer.from_callback(FileSigner(claim).sign, c2pa.C2paSigningAlg.ES256, claim.chain_pem, None)
    builder = c2pa.Builder(definition, context=c2pa.Context.from_dict(base_settings()))
    for number, data in enumerate(components):
        builder.add_ingredient_from_stream(
            {"title": f"{XSS}{number}", "relationship": "componentOf"}, "image/jpeg", io.BytesIO(data)
        )
    builder.sign(signer, "image/jpeg", io.BytesIO(encode_picture(scene(2), "image/jpeg")), out)
    path = folder / "other.jpg"
    path.write_bytes(out.getvalue())
    return path


def hostile_definition(text: str) -> dict[str, Any]:
    return {
        "title": text,
        "format": "image/jpeg",
        "claim_generator_info": [{"name": text, "version": text}],
        "assertions": [
            {
                "label": "c2pa.actions.v2",
                "data": {
                    "actions": [
                        {
                            "action": "c2pa.created",
                            "softwareAgent": {"name": text},
                            "digitalSourceType": "http://x/" + "trainedAlgorithmicMedia",
                        }
                    ]
                },
            },
            {
                "label": "c2pa.soft-binding",
                "data": {"alg": "org.filigrana.dft.1", "blocks": [{"scope": {}, "value": text}]},
            },
            {"label": "org.filigrana.record", "data": {"assetId": text}},
        ],
    }


def test_hostile_text_in_every_field_stays_text(tmp_path: Path) -> None:
    kit = Kit.make(tmp_path)
    path = signed_by_others(tmp_path, kit, hostile_definition(XSS), encode_picture(scene(4, 64, 64), "image/jpeg"))
    target = tmp_path / "report.html"
    result = shell("verify", path, "--html", target)
    assert result.exit_code in (3, 5), result.output
    page = target.read_text("utf-8")
    assert "alert(1)" in page, "it is shown, as text"
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "\u202e" not in page
    assert "\u202e" not in shell("verify", path).stdout, "a terminal shows it as an escape"


def test_a_thousand_ingredients_are_answered_in_time(tmp_path: Path) -> None:
    definition = hostile_definition("many") | {
        "ingredients": [
            {"title": f"part {n}", "relationship": "componentOf", "format": "image/jpeg"} for n in range(1_000)
        ]
    }
    path = signed_by_others(tmp_path, Kit.make(tmp_path), definition)
    found = answer("verify", path)[0]
    assert found["finding"] in ("intact", "contradicted")
    assert found["history"]["truncated"]
    assert found["seconds"] < 30


# ── other makers ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_another_maker_is_named_with_how_far_it_is_trusted(tmp_path: Path) -> None:
    kit = Kit.make(tmp_path)
    definition = {
        "claim_generator_info": [{"name": "Other Camera", "version": "9"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [{"action": "c2pa.created",
            "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"}]}}],
    }  # fmt: skip
    path = signed_by_others(tmp_path, kit, definition)
    stranger = answer("verify", path, code=3)[0]
    assert (
        stranger["made_by"] | {"generator": "Other Camera 9", "kind": "camera", "confirmed": False}
        == stranger["made_by"]
    )
    list_ = tmp_path / "official.pem"
    list_.write_text(kit.claim_root)
    assert answer("trust", "update", list_, code=0)["certificates"] == 1
    trusted = answer("verify", path, code=0)[0]
    assert (trusted["finding"], trusted["trust"], trusted["made_by"]["confirmed"]) == ("verified", "c2pa", True)
    assert any(row["level"] == "c2pa" for row in json.loads(shell("trust", "show", "--json", code=0).stdout))


def test_plain_labels_of_other_makers_are_told_unconfirmed(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a cat\nSteps: 20, Model: dream-1, Seed: 5")
    text.add_text("AIGC", '{"AIGC":{"Label":"1","ContentProducer":"Maker"}}')
    path = tmp_path / "made.png"
    Image.fromarray(scene(3, 300, 300)).save(path, pnginfo=text)
    found = answer("verify", path, code=4)[0]
    assert found["made_by"]["ai"] is True
    assert found["made_by"]["confirmed"] is False
    labels = [e["detail"] for e in found["evidence"] if e["technique"] == "label"]
    assert any("is AI-made; producer Maker" in line for line in labels)
    assert any("dream-1" in line for line in labels)


# ── trust lists ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_list_is_replaced_whole_and_says_what_changed(tmp_path: Path, installation: Installation) -> None:
    one, two = Kit.make(tmp_path / "1"), Kit.make(tmp_path / "2")
    store, now = TrustStore(tmp_path / "trust"), installation.clock()
    first = store.update("claim", one.claim_root.encode(), now)
    assert (first.count, len(first.added), len(first.removed)) == (1, 1, 0)
    second = store.update("claim", two.claim_root.encode() + one.claim_root.encode(), now)
    assert (second.count, len(second.added), len(second.removed)) == (2, 1, 0)
    third = store.update("claim", two.claim_root.encode(), now)
    assert (third.count, len(third.added), len(third.removed)) == (1, 0, 1)
    assert (tmp_path / "trust" / "claim.pem.old").exists()
    assert store.pems("tsa") == []


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"\xff" * 50, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"A" * (5 << 20)],
)
def test_what_is_no_list_leaves_the_old_one(tmp_path: Path, data: bytes, installation: Installation) -> None:
    store, now = TrustStore(tmp_path / "trust"), installation.clock()
    store.update("claim", Kit.make(tmp_path).claim_root.encode(), now)
    before = store.pems("claim")
    with pytest.raises(SettingsError):
        store.update("claim", data, now)
    assert store.pems("claim") == before


def test_a_list_on_which_all_has_expired_is_refused(tmp_path: Path, installation: Installation) -> None:
    import datetime as dt

    old = Kit.make(tmp_path, dt.datetime(2000, 1, 1, tzinfo=dt.UTC))
    with pytest.raises(SettingsError, match="expired"):
        TrustStore(tmp_path / "trust").update("claim", old.claim_root.encode(), installation.clock())


def test_a_broken_installed_list_trusts_nobody_and_says_so(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "d")
    (tmp_path / "d" / "trust").mkdir(parents=True)
    (tmp_path / "d" / "trust" / "claim.pem").write_bytes(b"\xff\xfe")
    opened = Installation(settings)
    with pytest.raises(SettingsError):
        _ = opened.trust
    opened.close()
