"""The history that a manifest tells, and who made a file: from documents as c2pa-rs gives them, and hostile ones."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filigrana.provenance.credentials import Credentials
from filigrana.provenance.foreign import ForeignLabels, from_xmp, parse_aigc
from filigrana.provenance.history import MAX_NODES, Action, Edge, History, Node, generator_text, history_of
from filigrana.provenance.madeby import made_by
from filigrana.provenance.observed import Observed

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def manifest(title: str = "t", *, ingredients: list[dict[str, Any]] | None = None, **claim: Any) -> dict[str, Any]:
    store = {f"c2pa.ingredient.v3__{n}": ingredient for n, ingredient in enumerate(ingredients or [])}
    return {
        "claim": {"dc:title": title, "claim_generator_info": {"name": "Tool", "version": "2"}, **claim},
        "signature": {"common_name": "Signer", "time": "2026-01-02T03:04:05+00:00"},
        "assertion_store": {
            "c2pa.actions.v2": {"actions": [{"action": "c2pa.created", "softwareAgent": "x"}]},
            **store,
        },
    }


def refers(label: str, relationship: str = "parentOf", **more: Any) -> dict[str, Any]:
    return {"relationship": relationship, "activeManifest": {"url": f"self#jumbf=/c2pa/{label}"}, **more}


def history(manifests: dict[str, Any], results: dict[str, Any] | None = None) -> History:
    document = {"active_manifest": next(iter(manifests)), "manifests": manifests}
    return history_of(document, results or {}, "trusted", "configured", ())


def test_a_parent_and_a_component_are_told_with_their_relationship() -> None:
    told = history(
        {
            "a": manifest(
                "result",
                ingredients=[
                    refers("b"),
                    {"relationship": "componentOf", "dc:title": "logo", "dc:format": "image/png"},
                ],
            ),
            "b": manifest("origin"),
        }
    )
    assert [(n.title, n.kind, n.state) for n in told.nodes] == [
        ("result", "manifest", "trusted"), ("origin", "manifest", "valid"), ("logo", "ingredient", "none"),
    ]  # fmt: skip
    assert [(e.source, e.target, e.relationship) for e in told.edges] == [
        ("m0", "m1", "parentOf"),
        ("m0", "i2", "componentOf"),
    ]
    assert told.nodes[0].generator == "Tool 2"


def test_a_cycle_is_walked_once() -> None:
    told = history({"a": manifest(ingredients=[refers("b")]), "b": manifest(ingredients=[refers("a"), refers("b")])})
    assert len(told.nodes) == 2
    assert [(e.source, e.target) for e in told.edges] == [("m0", "m1"), ("m1", "m0"), ("m1", "m1")]


def test_ten_thousand_ingredients_are_cut_and_that_is_said() -> None:
    told = history(
        {"a": manifest(ingredients=[{"relationship": "componentOf", "dc:title": str(n)} for n in range(10_000)])}
    )
    assert len(told.nodes) == MAX_NODES
    assert told.truncated


def test_a_deep_chain_is_no_recursion() -> None:
    chain = {str(n): manifest(str(n), ingredients=[refers(str(n + 1))]) for n in range(5_000)}
    assert history(chain).truncated


def test_an_ingredient_is_trusted_only_by_what_is_found_now() -> None:
    recorded = {
        "activeManifest": {
            "success": [
                {"code": "signingCredential.trusted", "explanation": "found in [urn:filigrana:trust:claim:c2pa]"}
            ]
        }
    }
    manifests = {"a": manifest(ingredients=[refers("b", validationResults=recorded)]), "b": manifest()}
    assert history(manifests).nodes[1].state == "valid", "what was recorded, anybody may have written"
    uri = "self#jumbf=/c2pa/a/c2pa.assertions/c2pa.ingredient.v3__0"
    now = {
        "ingredientDeltas": [
            {
                "ingredientAssertionURI": uri,
                "validationDeltas": {
                    "success": [
                        {
                            "code": "signingCredential.trusted",
                            "explanation": "signing certificate trusted, found in [urn:filigrana:trust:claim:c2pa] trust anchors",
                        }
                    ]
                },
            }
        ]
    }
    told = history(manifests, now).nodes[1]
    assert (told.state, told.trust) == ("trusted", "c2pa")


@pytest.mark.parametrize("where", ["recorded", "now"])
def test_an_ingredient_that_failed_is_invalid(where: str) -> None:
    bad = {"failure": [{"code": "assertion.dataHash.mismatch"}]}
    manifests = {
        "a": manifest(
            ingredients=[refers("b", **({"validationResults": {"activeManifest": bad}} if where == "recorded" else {}))]
        ),
        "b": manifest(),
    }
    uri = "self#jumbf=/c2pa/a/c2pa.assertions/c2pa.ingredient.v3__0"
    results = {"ingredientDeltas": [{"ingredientAssertionURI": uri, "validationDeltas": bad}]} if where == "now" else {}
    told = history(manifests, results).nodes[1]
    assert (told.state, told.failures) == ("invalid", ("assertion.dataHash.mismatch",))


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ({"claim_generator_info": {"name": "A", "version": "1"}}, "A 1"),
        ({"claim_generator_info": [{"name": "A"}]}, "A"),
        ({"claim_generator": "old/1"}, "old/1"),
        ({"claim_generator_info": []}, None),
        ({"claim_generator_info": {"name": ["x"]}}, None),
        ({}, None),
    ],
)
def test_the_claim_generator_is_read_in_every_shape(claim: dict[str, Any], expected: str | None) -> None:
    assert generator_text(claim) == expected


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("a") | st.just("self#jumbf=/c2pa/a"),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["claim", "signature", "assertion_store", "actions", "c2pa.actions", "c2pa.ingredient", "activeManifest", "url",
                         "validationResults", "failure", "success", "code", "dc:title", "data_types", "type", "softwareAgent", "name"]),
        inner, max_size=4),
    max_leaves=30,
)  # fmt: skip


@given(anything, anything)
def test_whatever_the_document_holds_the_history_is_plain_json(document: Any, results: Any) -> None:
    told = history_of(
        {"active_manifest": "a", "manifests": {"a": document}},
        results if isinstance(results, dict) else {},
        "valid",
        "none",
        (),
    )
    json.dumps(told.as_dict(), allow_nan=False)


# ── who made it ──────────────────────────────────────────────────────────────────────────────────────────────────
NONE = ForeignLabels()


def test_a_signed_statement_counts_before_plain_labels() -> None:
    signed = Credentials("trusted", "c2pa", signer="Studio", source_type=IPTC + "digitalCapture", generator="Camera 1")
    told = made_by(signed, ForeignLabels(source_type=IPTC + "trainedAlgorithmicMedia", system="Model X"))
    assert told is not None
    assert (told.kind, told.generator, told.confirmed, told.ai) == ("camera", "Camera 1", True, False)


def test_credentials_that_do_not_hold_say_nothing() -> None:
    forged = Credentials("invalid", source_type=IPTC + "digitalCapture", generator="Camera 1")
    assert made_by(forged, NONE) is None


def test_an_editor_says_what_its_parent_was() -> None:
    parent = Node(
        "m1",
        "t",
        "manifest",
        state="valid",
        actions=(Action("c2pa.created", source_type=IPTC + "trainedAlgorithmicMedia"),),
    )
    told = made_by(edited_from(parent), NONE)
    assert told is not None
    assert told.kind == "ai"
    assert not told.confirmed, "the editor is trusted, whoever signed its parent is not"
    told = made_by(edited_from(replace(parent, state="trusted")), NONE)
    assert told is not None
    assert told.confirmed


def edited_from(part: Node, relationship: str = "parentOf", **said: Any) -> Credentials:
    """What a trusted editor made of ``part``."""
    history = History(
        (Node("m0", "t", "manifest", actions=said.pop("actions", ())), part), (Edge("m0", part.id, relationship),)
    )
    return Credentials("trusted", "c2pa", generator="Editor", history=history, **said)


def made_of(source_type: str) -> tuple[Action, ...]:
    return (Action("c2pa.created", source_type=IPTC + source_type),)


def test_a_component_does_not_speak_for_the_whole() -> None:
    """A photograph placed into something else would make it "captured by a camera"; and so confirmed."""
    placed = Node("m1", "t", "manifest", state="trusted", actions=made_of("digitalCapture"))
    told = made_by(edited_from(placed, "componentOf"), NONE)
    assert told is not None
    assert (told.kind, told.ai) == ("unknown", None)


def test_a_step_with_ai_on_a_photograph_is_told() -> None:
    """Created by a camera, then filled in by a model: the first step alone would say "camera", and AI False."""
    steps = (
        *made_of("digitalCapture"),
        Action("c2pa.edited", source_type=IPTC + "compositeWithTrainedAlgorithmicMedia"),
    )
    told = made_by(
        Credentials(
            "trusted",
            "c2pa",
            source_type=IPTC + "digitalCapture",
            history=History((Node("m0", "t", "manifest", actions=steps),)),
        ),
        NONE,
    )
    assert told is not None
    assert (told.kind, told.ai, told.confirmed) == ("composite", True, True)


def test_human_edits_do_not_wash_ai_out_of_the_parent() -> None:
    parent = Node("m1", "t", "manifest", state="trusted", actions=made_of("trainedAlgorithmicMedia"))
    told = made_by(edited_from(parent, source_type=IPTC + "humanEdits"), NONE)
    assert told is not None
    assert (told.kind, told.ai) == ("ai", True)


def test_plain_labels_in_a_signed_file_are_not_confirmed_by_its_signature() -> None:
    """An AI picture with a forged "digitalCapture" in its XMP, saved by an editor that signs and says nothing of it."""
    told = made_by(
        Credentials("trusted", "c2pa", generator="Editor"), ForeignLabels(source_type=IPTC + "digitalCapture")
    )
    assert told is not None
    assert (told.kind, told.confirmed) == ("camera", False)


def test_labels_of_a_stripped_copy_are_not_the_record_s_word() -> None:
    """Whoever writes "made by AI" into a copy of a photograph would have the answer say so of the original."""
    stored = Credentials("trusted", "c2pa", generator="Studio")
    seen = Observed(Credentials("absent"), stored=stored, exact=True, foreign=ForeignLabels(aigc=(("Label", "1"),)))
    assert seen.made_by is not None
    assert (seen.made_by.kind, seen.made_by.ai) == ("unknown", None)


@pytest.mark.parametrize(
    ("labels", "kind", "generator"),
    [
        (
            ForeignLabels(source_type=IPTC + "trainedAlgorithmicMedia", system="Model X", system_version="3"),
            "ai",
            "Model X 3",
        ),
        (ForeignLabels(source_type="compositeWithTrainedAlgorithmicMedia"), "composite", None),
        (ForeignLabels(aigc=(("Label", "1"), ("ContentProducer", "Maker"))), "ai", "Maker"),
        (ForeignLabels(generator="InvokeAI"), "ai", "InvokeAI"),
        (ForeignLabels(camera="Nikon Z8", software="fw 2"), "camera", "Nikon Z8"),
        (ForeignLabels(software="GIMP 3"), "unknown", "GIMP 3"),
    ],
)
def test_plain_labels_name_other_makers_unconfirmed(labels: ForeignLabels, kind: str, generator: str | None) -> None:
    told = made_by(Credentials("absent"), labels)
    assert told is not None
    assert (told.kind, told.generator, told.confirmed) == (kind, generator, False)


def test_nothing_said_is_nobody() -> None:
    assert made_by(Credentials("absent"), NONE) is None


# ── plain labels ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "text",
    [
        '{"AIGC":{"Label":"1","ContentProducer":"p"}}',
        '{"Label":"1","ContentProducer":"p"}',
        '{"Label": 1, "ContentProducer": "p"}',
    ],
)
def test_both_shapes_of_the_aigc_label_are_read(text: str) -> None:
    assert dict(parse_aigc(text)) == {"Label": "1", "ContentProducer": "p"}


@pytest.mark.parametrize(
    "text", [None, "", "x", "[]", '{"AIGC":[]}', '{"AIGC":{}}', "{" * 5000, '{"Label":"' + "x" * 9000 + '"}']
)
def test_what_is_no_aigc_label_is_none(text: str | None) -> None:
    assert parse_aigc(text) == ()


@pytest.mark.parametrize(
    "packet",
    [
        '<d Iptc4xmpExt:DigitalSourceType="U" Iptc4xmpExt:AISystemUsed="M &amp; S"/>',
        "<Iptc4xmpExt:DigitalSourceType>U</Iptc4xmpExt:DigitalSourceType><Iptc4xmpExt:AISystemUsed>M &amp; S</Iptc4xmpExt:AISystemUsed>",
        "<a:DigitalSourceType><rdf:Bag><rdf:li>U</rdf:li></rdf:Bag></a:DigitalSourceType><b:AISystemUsed x='1'>M &amp; S</b:AISystemUsed>",
    ],
)
def test_xmp_fields_are_read_as_attributes_elements_and_lists(packet: str) -> None:
    found = from_xmp(packet)
    assert (found["source_type"], found["system"]) == ("U", "M & S")


def test_a_hostile_packet_takes_no_time() -> None:
    import time

    started = time.perf_counter()
    for packet in (
        "<a:AIGC>" * 100_000,
        "<a:DigitalSourceType " * 50_000,
        'AIGC="' * 150_000,
        "<" * 1_000_000,
        "a:" * 500_000,
    ):
        from_xmp(packet)
    assert time.perf_counter() - started < 10
