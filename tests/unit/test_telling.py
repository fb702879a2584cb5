"""The words of a finding: short, complete, honest about what is claimed and what is confirmed, in every language."""

from __future__ import annotations

import re
from typing import Any

import pytest

from filigrana.provenance.finding import EXIT_CODES, Evidence, Finding
from filigrana.provenance.identity import AssetId
from filigrana.provenance.telling import _odds
from filigrana.provenance.words import languages, words

TECHNIQUES = [
    "media",
    "c2pa.signature",
    "c2pa.binding",
    "c2pa.timestamp",
    "c2pa.trust",
    "c2pa.revocation",
    "c2pa.ingredients",
    "watermark",
    "av-sync",
    "sound",
    "metadata",
    "label",
    "generator",
    "catalog",
    "manifest",
    "preview",
    "fingerprint",
    "log",
    "cross-check",
    "limits",
]


def finding(word: str, **changes: Any) -> Finding:
    fields: dict[str, Any] = {
        "file": "x.jpg", "finding": word, "asset_id": AssetId(77), "trust": "none", "match": None, "evidence": (), "seconds": 0.1,
        "signer": "Example News", "time": "2026-11-24T10:00:00+00:00",
    }  # fmt: skip
    return Finding(**(fields | changes))


@pytest.mark.parametrize("language", languages())
@pytest.mark.parametrize("word", EXIT_CODES)
def test_every_finding_is_told_in_every_language_within_four_kilobytes(word: str, language: str) -> None:
    told = finding(word).telling(language)
    text = "\n".join([told.headline, told.meaning, *told.explanation, *told.conclude, *told.not_conclude])
    assert told.headline
    assert told.not_conclude
    assert not re.search(r"\{\w+\}", text), "a place was not filled"
    assert len(text.encode()) < 4096


@pytest.mark.parametrize("language", languages())
def test_languages_have_the_same_keys_and_places(language: str) -> None:
    english, other = words("en"), words(language)
    assert set(english.names()) == set(other.names())
    for key in english.names():
        assert len(english.lines(key)) == len(other.lines(key)), key
        places = [sorted(re.findall(r"\{(\w+)\}", said(key))) for said in (english, other)]
        assert places[0] == places[1], key


def test_every_technique_that_the_verifier_names_has_words() -> None:
    import ast
    from pathlib import Path

    import filigrana.provenance

    named = set()
    for path in Path(next(iter(filigrana.provenance.__path__))).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "Evidence"
                and isinstance(node.args[0], ast.Constant)
            ):
                named.add(node.args[0].value)
    assert named <= set(TECHNIQUES)
    for technique in TECHNIQUES:
        assert f"technique.{technique}.meaning" in words()
        assert f"technique.{technique}.title" in words()


def test_a_signer_nobody_knows_is_not_named_as_a_fact() -> None:
    told = " ".join(finding("intact").telling().explanation)
    assert "calls themselves Example News" in told
    assert "nobody here confirms" in told


def test_a_development_key_is_never_called_a_trusted_source() -> None:
    assert "test key" in finding("verified", trust="development").telling().headline
    assert "trusted source" in finding("verified", trust="c2pa").telling().headline


def test_a_record_whose_signer_nobody_knows_confirms_nothing() -> None:
    told = finding("recovered", record={"trust": "none"}).telling()
    assert "nobody here knows who signed" in told.headline
    assert "not confirmed" in " ".join(told.conclude)
    assert "traced back" in finding("recovered", record={"trust": "configured"}).telling().headline


def test_unconfirmed_labels_are_said_as_claims() -> None:
    made = {"generator": "Model X", "kind": "ai", "confirmed": False}
    assert "unconfirmed" in " ".join(finding("unmarked", made_by=made).telling().explanation)
    assert "unconfirmed" not in " ".join(
        finding("verified", trust="c2pa", made_by=made | {"confirmed": True}).telling().explanation
    )


def test_a_number_that_may_be_stolen_is_not_called_its_own() -> None:
    assert any("need not be its own" in line for line in finding("contradicted").telling().explanation)
    assert any(line.startswith("Its number is") for line in finding("altered").telling().explanation)


def test_a_withdrawn_key_is_said() -> None:
    told = finding("intact", evidence=(Evidence("c2pa.revocation", "failed", "stolen laptop"),)).telling()
    assert any("stolen laptop" in line for line in told.explanation)
    assert "withdrawn" in told.headline
    assert not any("calls themselves" in line for line in told.explanation)


def test_a_file_s_text_cannot_fill_another_place() -> None:
    told = " ".join(finding("verified", trust="c2pa", signer="{trust} {time} {0.__class__}").telling().explanation)
    assert "{trust} {time} {0.__class__}" in told


@pytest.mark.parametrize(("p", "odds"), [(0.5, "1"), (1e-3, "1,000"), (3.2e-4, "1,000"), (1e-42, "1,000,000,000,000")])
def test_odds_are_rounded_down_and_end_where_nobody_can_picture_them(p: float, odds: str) -> None:
    assert _odds(p) == odds


def test_the_answer_as_json_has_the_fields_of_the_contract() -> None:
    answer = finding("unmarked", evidence=(Evidence("watermark", "absent", "none"),)).as_dict()
    assert {"file", "finding", "asset_id", "trust", "match", "evidence", "seconds"} <= set(answer)
    assert set(answer["evidence"][0]) == {"technique", "status", "detail", "meaning"}
