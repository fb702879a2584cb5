"""Webhooks: signed, told once with the job's end, tried again until they are taken, and never sent inside."""

from __future__ import annotations

import base64
import hmac
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from filigrana.errors import FetchError, InputError
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.model import Order
from filigrana.pipeline.postman import PAUSES, SHARE, Postman
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.webhooks import GRACE, Webhooks
from filigrana.provenance.database import session
from filigrana.provenance.service_tables import Webhook, WebhookDelivery
from filigrana.tests.serving import clients, installed, running
from filigrana.tests.working import until, working


@dataclass
class Receiver:
    """A real server that answers as it is told, and keeps what it was sent."""

    url: str = ""
    place: str = ""
    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def receiver() -> Iterator[Receiver]:
    kept = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
            status = kept.answers.pop(0) if kept.answers else 204
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kept.place = f"127.0.0.1:{server.server_address[1]}"
    kept.url = f"http://{kept.place}/hook"
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()


def verified(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """As the receiver's library does it: written from the specification, not with our own code."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(key, content, sha256).digest()).decode()
    fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    return fresh and any(hmac.compare_digest(each, f"v1,{wanted}") for each in headers["webhook-signature"].split())


def test_a_release_is_told_signed_and_without_a_word_of_the_prompt(tmp_path: Path) -> None:
    with receiver() as kept:
        house = installed(tmp_path / "data", fetch_allow=[kept.place])
        try:
            _, secret = house.access.add("press", "ana", ["creator"])
            with running(house) as url, working(house), httpx.Client(
                base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60
            ) as client:  # fmt: skip
                made = client.post("/v1/webhooks", json={"url": kept.url, "events": ["job.released"]})
                assert made.status_code == 201, made.text
                told = client.post("/v1/images/generations", json={"prompt": "a secret boat", "seed": 3})
                assert told.status_code == 200
                until(lambda: kept.got, 30)
                headers, body = kept.got[0]
                assert verified(made.json()["secret"], headers, body)
                assert not verified(made.json()["secret"], headers, body + b" ")
                message = json.loads(body)
                assert message["type"] == "job.released"
                assert message["data"]["job"] == told.json()["filigrana"][0]["job"]
                assert message["data"]["outcome"]["asset_id"] == told.json()["data"][0]["asset_id"]
                assert b"secret boat" not in body
                ident = made.json()["id"]

                def delivered() -> Any:
                    rows = client.get(f"/v1/webhooks/{ident}/deliveries").json()["data"]
                    return rows if rows and rows[0]["state"] == "delivered" else None

                assert until(delivered, 30)[0]["status"] == 204
                client.post("/v1/images/generations", json={"prompt": "how to build a pipe bomb"})
                time.sleep(1.5)
                assert len(kept.got) == 1, "it did not ask for refusals"
                listed = client.get("/v1/webhooks").json()["data"]
                assert "secret" not in listed[0]
                assert client.delete(f"/v1/webhooks/{ident}").json()["deleted"] is True
                assert client.get("/v1/webhooks").json()["data"] == []
            acts = [e["act"] for _, e in house.log.entries() if e["type"] == "webhook"]
            assert acts == ["added", "removed"]
        finally:
            house.close()


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    opened = Installation(load_settings(data_dir=tmp_path / "data", database=database_url))
    yield opened
    opened.close()


def ended(house: Installation, tenant: str = "press") -> None:
    order = Order(tenant, "ana", "generate", {"seed": 3, "mime": "image/png"}, {"prompt": "a boat"})
    house.jobs.cancel(house.jobs.put(order)[0].id)


def due_now(house: Installation) -> None:
    with session(house.jobs.engine, write=True) as opened:
        opened.execute(update(WebhookDelivery).values(due=0))


def only(house: Installation, ident: str) -> dict[str, Any]:
    (row,) = Webhooks(house).deliveries("press", ident, 10)
    return row


def allowing(house: Installation, place: str) -> None:
    house.settings = house.settings.model_copy(update={"fetch_allow": [place]})


def test_what_is_not_taken_is_tried_again_and_given_up_in_the_end(house: Installation) -> None:
    with receiver() as kept:
        allowing(house, kept.place)
        hook, _ = Webhooks(house).add("press", "ana", kept.url, ["job.cancelled"])
        ended(house)
        postman = Postman(house)
        kept.answers = [500, 302] + [503] * len(PAUSES)
        assert postman.deliver() == 1
        assert (only(house, hook.id)["state"], only(house, hook.id)["status"]) == ("waiting", 500)
        assert postman.deliver() == 0, "not before its time"
        for _ in range(len(PAUSES)):
            due_now(house)
            assert postman.deliver() == 1
        assert only(house, hook.id)["state"] == "given_up"
        assert only(house, hook.id)["attempts"] == len(PAUSES) + 1 == len(kept.got)
        assert len({headers["webhook-id"] for headers, _ in kept.got}) == 1, "a receiver can see that it is the same"
        due_now(house)
        assert postman.deliver() == 0


def test_gone_means_gone(house: Installation) -> None:
    with receiver() as kept:
        allowing(house, kept.place)
        hook, _ = Webhooks(house).add("press", "ana", kept.url, ["job.cancelled"])
        ended(house)
        kept.answers = [410]
        Postman(house).deliver()
        assert only(house, hook.id)["state"] == "given_up"


def test_two_postmen_deliver_a_message_once(house: Installation) -> None:
    with receiver() as kept:
        allowing(house, kept.place)
        Webhooks(house).add("press", "ana", kept.url, ["job.cancelled"])
        for _ in range(12):
            ended(house)
        threads = [threading.Thread(target=Postman(house).deliver) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(kept.got) == 12
        assert len({headers["webhook-id"] for headers, _ in kept.got}) == 12


def test_receivers_that_never_answer_delay_no_other_tenant(house: Installation) -> None:
    silent = socket.create_server(("127.0.0.1", 0), backlog=64)
    with closing(silent), receiver() as kept:
        dead = f"127.0.0.1:{silent.getsockname()[1]}"
        house.settings = house.settings.model_copy(update={"fetch_allow": [dead, kept.place]})
        for _ in range(3):
            Webhooks(house).add("agency", "eve", f"http://{dead}/", ["job.cancelled"])
        Webhooks(house).add("press", "ana", kept.url, ["job.cancelled"])
        for _ in range(10):
            ended(house, "agency")
        postman = Postman(house)
        thread = threading.Thread(target=postman.deliver)
        thread.start()
        until(lambda: silent_holds(house) >= SHARE, 20)
        ended(house)  # comes last, while everything of the other one hangs for ten seconds
        started = time.monotonic()
        until(lambda: kept.got, 20)
        assert time.monotonic() - started < 8
        assert silent_holds(house) == SHARE, "and the other one has its share, not all"
        postman._stop.set()
        silent.close()
        thread.join(30)
        assert not thread.is_alive()


def silent_holds(house: Installation) -> int:
    """The agency's messages that somebody is trying to deliver at this moment, for the first time."""
    with session(house.jobs.engine) as opened:
        query = select(WebhookDelivery).join(Webhook).where(Webhook.tenant == "agency")
        query = query.where(WebhookDelivery.attempts > 0, WebhookDelivery.status.is_(None))
        return len(opened.scalars(query).all())


def test_nothing_is_sent_inside_even_where_the_name_moved_there(house: Installation) -> None:
    with receiver() as kept:
        with pytest.raises(FetchError) as caught:
            Webhooks(house).add("press", "ana", kept.url, ["job.cancelled"])
        assert caught.value.code == "input.url.port"
        # a public name when it was added; localhost by the time of sending
        hook, _ = Webhooks(house).add("press", "ana", "http://localhost/hook", ["job.cancelled"])
        ended(house)
        Postman(house).deliver()
        assert (only(house, hook.id)["state"], only(house, hook.id)["status"]) == ("waiting", 0)
        assert kept.got == []


def test_why_a_message_was_not_taken_and_when_it_is_tried_next_is_told(house: Installation) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as closed:
        place = f"127.0.0.1:{closed.getsockname()[1]}"
    allowing(house, place)
    hook, _ = Webhooks(house).add("press", "ana", f"http://{place}/", ["job.cancelled"])
    ended(house)
    assert only(house, hook.id)["next_try_at"] is None, "it was not tried yet"
    Postman(house).deliver()
    told = only(house, hook.id)
    assert (told["state"], told["status"], told["reason"]) == ("waiting", 0, "input.url.answer")
    ahead = datetime.fromisoformat(told["next_try_at"]) - datetime.now(UTC)
    assert abs(ahead.total_seconds() - PAUSES[0]) < 4
    with receiver() as kept:
        allowing(house, kept.place)
        hook, _ = Webhooks(house).add("agency", "eve", kept.url, ["job.cancelled"])
        ended(house, "agency")
        Postman(house).deliver()
        (told,) = Webhooks(house).deliveries("agency", hook.id, 10)
        assert (told["state"], told["status"], told["reason"], told["next_try_at"]) == ("delivered", 204, None, None)


def test_a_rotated_secret_signs_at_once_and_the_one_before_for_a_day(house: Installation) -> None:
    with receiver() as kept:
        allowing(house, kept.place)
        hooks = Webhooks(house)
        hook, first = hooks.add("press", "ana", kept.url, ["job.cancelled"])
        _, second = hooks.rotate("press", hook.id, "ana")
        ended(house)
        Postman(house).deliver()
        assert [verified(secret, *kept.got[0]) for secret in (first, second)] == [True, True]
        _, third = hooks.rotate("press", hook.id, "ana")
        ended(house)
        Postman(house).deliver()
        assert [verified(secret, *kept.got[1]) for secret in (first, second, third)] == [False, True, True]
        ended(house)
        Postman(house, clock=lambda: house.clock() + GRACE).deliver()
        assert len(kept.got[2][0]["webhook-signature"].split()) == 1, "after a day the new one alone"
        acts = [e["act"] for _, e in house.log.entries() if e["type"] == "webhook"]
        assert acts == ["added", "rotated", "rotated"]


def test_a_message_is_sent_again_and_a_test_is_about_no_job(tmp_path: Path) -> None:
    with receiver() as kept:
        house = installed(tmp_path / "data", fetch_allow=[kept.place])
        try:
            keys = {"ana": ("press", ["creator"]), "eve": ("agency", ["creator"])}
            with running(house) as url, clients(house, url, keys) as who:
                ana, eve = who["ana"], who["eve"]
                hook = ana.post("/v1/webhooks", json={"url": kept.url, "events": ["job.cancelled"]}).json()["id"]
                there = f"/v1/webhooks/{hook}"

                def last(state: str, tries: int = 1) -> Any:
                    rows = ana.get(f"{there}/deliveries").json()["data"]
                    return rows if rows and (rows[0]["state"], rows[0]["attempts"]) == (state, tries) else None

                told = ana.post(f"{there}/test")
                assert (told.status_code, told.json()["event"], told.json()["job"]) == (202, "webhook.test", None)
                until(lambda: last("delivered"), 20)
                assert json.loads(kept.got[0][1])["data"] == {"webhook": hook}

                kept.answers = [410]
                ended(house)
                (message, _) = until(lambda: last("given_up"), 20)
                again = f"{there}/deliveries/{message['id']}/retry"
                assert ana.post(again).json()["state"] == "waiting"
                until(lambda: last("delivered"), 20)
                assert kept.got[1][0]["webhook-id"] == kept.got[2][0]["webhook-id"]
                assert kept.got[1][1] == kept.got[2][1]

                for path in (f"{there}/test", f"{there}/secret", again):
                    assert eve.post(path).status_code == 404, "another tenant's"
                for path in (f"{there}/deliveries/{message['job']}/retry", f"{there}/deliveries/x/retry"):
                    assert ana.post(path).status_code == 404
                new = ana.post(f"{there}/secret").json()["secret"]
                ana.post(f"{there}/test")
                until(lambda: len(kept.got) == 4, 20)
                assert verified(new, *kept.got[3])
                assert "secret" not in ana.get("/v1/webhooks").text
        finally:
            house.close()


def test_one_test_waits_at_a_time(house: Installation) -> None:
    hooks = Webhooks(house)
    hook, _ = hooks.add("press", "ana", "https://example.org/", ["job.held"])
    assert hooks.test("press", hook.id)["id"] == hooks.test("press", hook.id)["id"]
    assert len(hooks.deliveries("press", hook.id, 10)) == 1


def test_what_is_no_webhook_is_refused(house: Installation) -> None:
    hooks = Webhooks(house)
    for events in ([], ["job.exploded"]):
        with pytest.raises(InputError):
            hooks.add("press", "ana", "https://example.org/", events)
    with pytest.raises(FetchError):
        hooks.add("press", "ana", "ftp://example.org/", ["job.held"])
