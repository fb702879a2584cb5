"""A moderation endpoint: a real server on loopback that answers as it should, and in every way that it should not."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filigrana.errors import SafetyError, SettingsError
from filigrana.safety.decision import Verdict, checked_scores
from filigrana.safety.guards import moderation, tables
from filigrana.safety.guards.moderation import ModerationGuard
from filigrana.safety.judge import judge_text
from filigrana.tests.packs import pack_with_guard

KEY = "sk-very-secret-key"
Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


def good(**changes: float) -> dict[str, Any]:
    scores = dict.fromkeys(tables.MODERATION, 0.01) | {name.replace("_", "/"): value for name, value in changes.items()}
    flags = {name: score >= 0.5 for name, score in scores.items()}
    result = {"flagged": any(flags.values()), "categories": flags, "category_scores": scores}
    return {"id": "modr-1", "model": "omni-moderation-2024-09-26", "results": [result]}


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in ({"Content-Length": str(len(body))} | headers).items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


class Stand:
    """The stand-in. ``answers``: what the next requests get; the last one stays."""

    def __init__(self) -> None:
        self.answers: list[Any] = [good()]
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        stand = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stand.asked.append(body)
                stand.headers.append(dict(self.headers))
                answer = stand.answers.pop(0) if len(stand.answers) > 1 else stand.answers[0]
                if callable(answer):
                    answer(self, body)
                else:
                    send(self, 200, answer if isinstance(answer, bytes) else json.dumps(answer).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/moderations"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def stand() -> Iterator[Stand]:
    opened = Stand()
    yield opened
    opened.server.shutdown()
    opened.server.server_close()


def guard(stand: Stand, **options: Any) -> ModerationGuard:
    return ModerationGuard(stand.url, **{"key": KEY, "seconds": 5.0, "pause": lambda _: None, **options})


# ── as it should be ──────────────────────────────────────────────────────────────────────────────────────────────
def test_scores_come_back_by_hazard(stand: Stand) -> None:
    stand.answers = [good(sexual_minors=0.93, illicit_violent=0.7)]
    scores = dict(checked_scores("moderation", dict(guard(stand).score("a text"))))
    assert scores["cse"] == 0.93
    assert scores["iwp"] == scores["vcr"] == 0.7
    assert scores["hte"] == 0.01
    assert stand.asked == [{"model": "omni-moderation-latest", "input": "a text"}]
    assert stand.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_the_model_that_answered_is_named(stand: Stand) -> None:
    asked = guard(stand)
    asked.score("a text")
    assert asked.model.version == "omni-moderation-2024-09-26"
    assert asked.model.digest != guard(stand, model="other").model.digest
    assert KEY not in repr(asked) + str(asked.model)


def test_a_long_text_goes_in_parts_that_cover_it(stand: Stand) -> None:
    text = "".join(chr(0x4E00 + n % 20_000) for n in range(19_000))
    stand.answers = [good(), good(violence=0.8), good()]
    assert guard(stand).score(text)["vcr"] == 0.8
    parts = [body["input"] for body in stand.asked]
    assert all(len(part) <= moderation.MAX_PART for part in parts)
    assert parts[0][-2000:] == parts[1][:2000]
    assert set(text) == set("".join(parts))


@given(st.integers(1, 40_000))
def test_parts_leave_nothing_out(size: int) -> None:
    text = "".join(chr(0x10000 + n) for n in range(size))
    parts = moderation._parts(text)
    assert set("".join(parts)) == set(text)
    assert all(len(part) <= moderation.MAX_PART for part in parts)


def test_a_busy_endpoint_is_asked_again_and_no_more_than_twice(stand: Stand) -> None:
    busy: Answer = lambda h, _: send(h, 429, b"{}", Retry_After="0.01")  # noqa: E731
    stand.answers = [busy, busy, good()]
    assert guard(stand).score("a text")["vcr"] == 0.01
    stand.asked.clear()
    stand.answers = [busy]
    with pytest.raises(SafetyError) as caught:
        guard(stand).score("a text")
    assert caught.value.code == "safety.refused"
    assert len(stand.asked) == 3


def test_who_asks_for_a_long_wait_is_not_waited_for(stand: Stand) -> None:
    stand.answers = [lambda h, _: send(h, 429, b"{}", Retry_After="3600")]
    waits: list[float] = []
    with pytest.raises(SafetyError):
        guard(stand, pause=waits.append).score("a text")
    assert (len(stand.asked), waits) == (1, [])


# ── as it should not be ──────────────────────────────────────────────────────────────────────────────────────────
def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    answer = good()
    change(answer)
    return answer


def of(name: str, value: Any) -> dict[str, Any]:
    return changed(lambda a: a["results"][0]["category_scores"].update({name: value}))


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": (b"I am sorry", "safety.schema"),
    "empty": (b"", "safety.schema"),
    "not UTF-8": (b"\xff\xfe{}", "safety.schema"),
    "nested too deep": (b"[" * 50_000, "safety.schema"),
    "null": (b"null", "safety.schema"),
    "a list": ([], "safety.schema"),
    "an error": ({"error": {"message": "no"}}, "safety.schema"),
    "no results": (changed(lambda a: a.update(results=[])), "safety.schema"),
    "two results": (changed(lambda a: a.update(results=a["results"] * 2)), "safety.schema"),
    "no model": (changed(lambda a: a.pop("model")), "safety.schema"),
    "no flag": (changed(lambda a: a["results"][0].pop("flagged")), "safety.schema"),
    "a flag of text": (changed(lambda a: a["results"][0].update(flagged="false")), "safety.schema"),
    "flags are a list": (changed(lambda a: a["results"][0].update(categories=[])), "safety.schema"),
    "a contradiction": (changed(lambda a: a["results"][0].update(flagged=True)), "safety.schema"),
    "no scores": (changed(lambda a: a["results"][0].pop("category_scores")), "safety.schema"),
    "a category is missing": (changed(lambda a: a["results"][0]["category_scores"].pop("sexual/minors")), "safety.incomplete"),
    "a flag is missing": (changed(lambda a: a["results"][0]["categories"].pop("violence")), "safety.incomplete"),
    "all are missing": (changed(lambda a: a["results"][0].update(category_scores={})), "safety.incomplete"),
    "an unknown category": (of("arson", 0.1), "safety.unknown_hazard"),
    "NaN": (json.dumps(of("violence", float("nan"))).encode(), "safety.not_a_number"),
    "infinite": (json.dumps(of("violence", float("inf"))).encode(), "safety.not_a_number"),
    "negative": (of("violence", -0.1), "safety.not_a_number"),
    "above one": (of("violence", 1.01), "safety.not_a_number"),
    "text": (of("violence", "0.1"), "safety.not_a_number"),
    "true": (of("violence", True), "safety.not_a_number"),
    "nothing": (of("violence", None), "safety.not_a_number"),
    "a name twice": (json.dumps(good()).replace('"violence": 0.01', '"violence": 0.99, "violence": 0.01').encode(), "safety.schema"),
    "too much": (b" " * (moderation.MAX_ANSWER + 1), "safety.schema"),
    "401": (lambda h, _: send(h, 401, b"{}"), "safety.refused"),
    "500": (lambda h, _: send(h, 500, b"{}"), "safety.refused"),
    "204": (lambda h, _: send(h, 204, b""), "safety.refused"),
    "a redirect": (lambda h, _: send(h, 307, b"", Location="https://example.org/"), "safety.refused"),
    "packed": (lambda h, _: send(h, 200, b"\x1f\x8b\x08", Content_Encoding="gzip"), "safety.schema"),
    "cut off": (lambda h, _: send(h, 200, b"{", Content_Length="5000"), "safety.unreachable"),
    "hung up": (lambda h, _: h.connection.close(), "safety.unreachable"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_any_other_answer_is_an_error_and_means_review(name: str, stand: Stand) -> None:
    stand.answers, code = [BAD[name][0]], BAD[name][1]
    asked = guard(stand)
    with pytest.raises(SafetyError) as caught:
        asked.score("a text")
    assert caught.value.code == code
    decision = judge_text("a boat", pack_with_guard("moderation", "vcr", 0.5), [asked])
    assert decision.verdict is Verdict.REVIEW
    assert decision.code == "prompt.guard_failed"


def test_without_the_fault_it_allows_and_with_harm_it_blocks(stand: Stand) -> None:
    pack = pack_with_guard("moderation", "vcr", 0.5)
    assert judge_text("a boat", pack, [guard(stand)]).verdict is Verdict.ALLOW
    stand.answers = [good(violence=0.9)]
    assert judge_text("a boat", pack, [guard(stand)]).verdict is Verdict.BLOCK


@pytest.mark.parametrize("drip", [False, True])
def test_a_slow_endpoint_is_left(drip: bool, stand: Stand) -> None:
    def slowly(handler: BaseHTTPRequestHandler, _: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(40):
            time.sleep(0.1)
            if drip:
                try:
                    handler.wfile.write(b" ")
                    handler.wfile.flush()
                except OSError:
                    return

    stand.answers = [slowly]
    started = time.monotonic()
    with pytest.raises(SafetyError) as caught:
        guard(stand, seconds=0.6).score("a text")
    assert caught.value.code == "safety.timeout"
    assert time.monotonic() - started < 3


def test_an_endpoint_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SafetyError) as caught:
        ModerationGuard("http://127.0.0.1:9/", pause=lambda _: None, seconds=5).score("a text")
    assert caught.value.code == "safety.unreachable"


@pytest.mark.parametrize(
    "url", ["http://example.org/v1", "ftp://localhost/", "https://", "https://me:pw@example.org/", ""]
)
def test_prompts_go_nowhere_in_the_clear(url: str) -> None:
    with pytest.raises(SettingsError):
        ModerationGuard(url)


def test_the_key_is_told_to_nobody(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    """Not by errors, and not by the log of the HTTP library at its most talkative."""
    caplog.set_level(logging.DEBUG)

    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"no way to {request.headers['authorization']}")

    with pytest.raises(SafetyError) as caught:
        guard(stand, transport=httpx.MockTransport(fail)).score("a text")
    stand.answers = [lambda h, _: send(h, 401, KEY.encode())]
    with pytest.raises(SafetyError) as second:
        guard(stand).score("a text")
    for error in (caught.value, second.value):
        assert KEY not in error.diagnostics()
        assert error.__cause__ is None
    assert "Bearer" not in caplog.text or KEY not in caplog.text


@pytest.mark.parametrize("text", ["", "  \n"])
def test_nothing_is_not_asked_about(text: str, stand: Stand) -> None:
    with pytest.raises(SafetyError):
        guard(stand).score(text)
    assert stand.asked == []
