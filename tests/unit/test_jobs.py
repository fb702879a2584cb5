"""The queue of jobs, on SQLite and PostgreSQL: bounded, fair, idempotent; leases that end, and jobs that end once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text, update

from filigrana.errors import GenerationError, InputError, JobError, LogError, ServiceError
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.jobs.fence import SUPERSEDED, intent_of, settle
from filigrana.pipeline.jobs.queue import JobQueue
from filigrana.pipeline.jobs.worker import Worker
from filigrana.pipeline.request import GenerateRequest
from filigrana.provenance.database import connect, migrate, session
from filigrana.provenance.service_tables import IdempotencyKey
from filigrana.provenance.service_tables import Job as Row
from filigrana.provenance.vault import Vault
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.doubles import FakeGenerator
from filigrana.tests.working import REQUEST, order


@pytest.fixture
def queue(database_url: str) -> Iterator[JobQueue]:
    engine = connect(database_url)
    migrate(engine)
    yield JobQueue(engine, limit=50, tenant_limit=20, seconds=2.0, attempts=3)
    engine.dispose()


def late(queue: JobQueue) -> None:
    """As if every lease had run out."""
    with session(queue.engine, write=True) as opened:
        opened.execute(update(Row).where(Row.state == "running").values(lease_until=1))


# Orders


def test_an_order_waits_and_tells_neither_its_texts_nor_where_they_are(queue: JobQueue) -> None:
    job, new = queue.put(order("a secret boat"))
    assert new
    assert (job.state, job.attempts) == ("queued", 0)
    with queue.engine.connect() as connection:
        row = str(connection.execute(text("SELECT * FROM jobs")).one())
    assert "secret" not in row
    assert "secret" not in str(job.as_dict())
    assert str(job.texts["prompt"]) not in str(job.as_dict())
    assert queue.text(job, "prompt") == "a secret boat"
    assert queue.get(job.id, "press").id == job.id
    with pytest.raises(JobError, match="no such job"):
        queue.get(job.id, "somebody else")


def test_the_same_key_and_request_are_one_job_and_another_request_is_an_error(queue: JobQueue) -> None:
    first, new = queue.put(order(key="k1"))
    again, newer = queue.put(order(key="k1"))
    assert (new, newer) == (True, False)
    assert first.id == again.id
    for changed in (order("a blue boat", key="k1"), order(key="k1", request={**REQUEST, "seed": 4})):
        with pytest.raises(ServiceError) as error:
            queue.put(changed)
        assert (error.value.status, error.value.code) == (409, "jobs.key_reused")
    other, _ = queue.put(order(key="k1", tenant="agency"))
    assert other.id != first.id
    with queue.engine.connect() as connection:
        assert "boat" not in str(connection.execute(text("SELECT * FROM idempotency_keys")).all())


def test_one_key_from_many_at_once_is_one_job(queue: JobQueue) -> None:
    found: list[Any] = []

    def ask() -> None:
        found.append(queue.put(order(key="same")))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.id for job, _ in found}) == 1
    assert sum(new for _, new in found) == 1


@pytest.mark.parametrize("wrong", [{"key": ""}, {"key": "x" * 256}, {"rank": 10}, {"rank": -1}])
def test_keys_and_priorities_have_bounds(queue: JobQueue, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        queue.put(order(**wrong))


def test_no_more_wait_than_are_reckoned_without_counting(queue: JobQueue) -> None:
    def reckoned() -> int:
        with session(queue.engine) as opened:
            return queue._most_waiting(opened)

    assert reckoned() == 0
    for number in range(12):
        queue.put(order(f"boat {number}", rank=number % 10))
    assert reckoned() == 12
    for left in range(11, -1, -1):
        lease = queue.lease("w")
        assert lease is not None
        queue.finish(lease, "failed", {})
        assert left <= reckoned() <= 12
    assert reckoned() == 0
    queue.put(order())
    assert reckoned() == 1


def test_a_full_queue_says_when_to_come_again(queue: JobQueue) -> None:
    for number in range(20):
        queue.put(order(f"boat {number}"))
    with pytest.raises(ServiceError) as error:
        queue.put(order())
    assert (error.value.status, error.value.code) == (429, "jobs.full")
    assert error.value.retry_after
    queue.put(order(tenant="agency"))
    queue.limit = 21
    with pytest.raises(ServiceError):
        queue.put(order(tenant="third"))
    assert queue.lease("w") is not None
    queue.put(order(tenant="third"))


# Leases


def test_the_higher_rank_goes_first_then_the_older(queue: JobQueue) -> None:
    asked = [queue.put(order(f"boat {rank}", rank=rank))[0].id for rank in (0, 5, 0, 9)]
    taken = [queue.lease("w").job.id for _ in range(4)]  # type: ignore[union-attr]
    assert taken == [asked[3], asked[1], asked[0], asked[2]]
    assert queue.lease("w") is None


def test_many_workers_take_every_job_once(queue: JobQueue) -> None:
    asked = {queue.put(order(f"boat {number}"))[0].id for number in range(16)}
    taken: list[Any] = []

    def work(name: str) -> None:
        while (lease := queue.lease(name)) is not None:
            taken.append(lease.job.id)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, taken)) == sorted(map(str, asked))


def test_a_lease_gives_the_texts_and_a_beat_makes_it_last(queue: JobQueue) -> None:
    queue.put(order("a green boat"))
    lease = queue.lease("w")
    assert lease is not None
    assert lease.texts == {"prompt": "a green boat"}
    time.sleep(0.05)
    assert queue.beat(lease, {"stage": "generate", "done": 1, "total": 9})
    assert queue.get(lease.job.id).progress == {"stage": "generate", "done": 1, "total": 9}
    with session(queue.engine) as opened:
        assert (opened.query(Row).one().lease_until or 0) > lease.until


def test_a_lease_that_ran_out_frees_the_job_and_silences_who_had_it(queue: JobQueue) -> None:
    queue.put(order())
    first = queue.lease("slow")
    late(queue)
    second = queue.lease("quick")
    assert first is not None
    assert second is not None
    assert second.job.id == first.job.id
    assert second.job.attempts == 2
    for speak in (
        lambda: queue.beat(first, None),
        lambda: queue.finish(first, "released", {}),
        lambda: queue.give_back(first, {}),
    ):
        with pytest.raises(JobError) as error:
            speak()
        assert error.value.code == "jobs.lost"
    assert queue.finish(second, "released", {"released": True, "asset_id": "0000000000A1"}).state == "released"


def test_a_job_that_was_given_back_waits_and_then_fails_for_good(queue: JobQueue) -> None:
    job, _ = queue.put(order())
    for attempt in range(3):
        lease = queue.lease("w")
        assert lease is not None
        back = queue.give_back(lease, {"code": "engine.generate"}, wait=0.0)
        assert back.state == ("queued" if attempt < 2 else "failed")
    other, _ = queue.put(order())
    lease = queue.lease("w")
    assert lease is not None
    queue.give_back(lease, {}, wait=30)
    assert queue.lease("w") is None
    assert queue.get(job.id).outcome == {"code": "engine.generate"}
    assert queue.get(other.id).state == "queued"


def test_what_waits_is_cancelled_at_once_and_what_runs_is_told(queue: JobQueue) -> None:
    waits, _ = queue.put(order())
    assert queue.cancel(waits.id, "press").state == "cancelled"
    with pytest.raises(JobError):
        queue.cancel(waits.id, "agency")
    queue.put(order())
    lease = queue.lease("w")
    assert lease is not None
    assert queue.cancel(lease.job.id).state == "running"
    assert not queue.beat(lease, None)
    late(queue)
    again = queue.lease("w")
    assert again is not None
    assert again.job.cancelled
    assert queue.finish(again, "cancelled", {}).state == "cancelled"
    assert queue.cancel(again.job.id).state == "cancelled"


def test_a_job_of_an_erased_subject_fails_and_the_next_one_is_taken(queue: JobQueue) -> None:
    gone, _ = queue.put(order())
    stays, _ = queue.put(order(subject="ben"))
    with session(queue.engine, write=True) as opened:
        Vault(opened).erase("ana")
    lease = queue.lease("w")
    assert lease is not None, "nobody waits for the next one because of it"
    assert lease.job.id == stays.id
    assert queue.lease("w") is None
    failed = queue.get(gone.id)
    assert (failed.state, failed.subject) == ("failed", None)
    assert (failed.outcome or {})["code"] == "provenance.erased"


def test_the_list_is_by_tenant_and_state_and_goes_on_where_it_stopped(queue: JobQueue) -> None:
    asked = [queue.put(order(f"boat {n}", tenant=("press", "agency")[n % 2]))[0] for n in range(6)]
    mine = queue.list("press", limit=2)
    assert [job.id for job in mine] == [asked[4].id, asked[2].id]
    assert [job.id for job in queue.list("press", after=mine[-1].place)] == [asked[0].id]
    assert queue.counts() == {"queued": 6}
    assert queue.list(state="failed") == []


# What makes it end once


@pytest.fixture
def house(make_engine: MakeEngine, installation: Any) -> tuple[JobQueue, Callable[..., Any]]:
    """A queue in the installation's own database, and workers on engines of real parts."""
    queue = JobQueue(installation.log.engine, seconds=20.0)

    class Made:
        def __init__(self, engine: Engine) -> None:
            self.engine = engine

    def worker(**parts: Any) -> Worker:
        return Worker(Made(make_engine(**parts)), queue, "w", idle=lambda _seconds: None)

    return queue, worker


def test_a_worker_makes_what_was_asked(house: Any, installation: Any) -> None:
    queue, worker = house
    job, _ = queue.put(order())
    assert worker().run(threading.Event(), drain=True) == 1
    done = queue.get(job.id)
    assert done.state == "released"
    assert done.outcome["released"] is True
    assert done.outcome["energy"]["joules"] > 0
    with session(installation.log.engine) as opened:
        from filigrana.provenance.catalog import Catalog

        assert Catalog(opened).count() == 1
    assert installation.ledger.state(intent_of(job.id, 1)) == "released"
    assert installation.log.verify().ok


def test_a_refusal_is_the_jobs_end_with_its_reasons(house: Any) -> None:
    queue, worker = house
    job, _ = queue.put(order("how to build a pipe bomb"))
    worker().run(threading.Event(), drain=True)
    done = queue.get(job.id)
    assert done.state in ("refused", "held")
    assert done.outcome["released"] is False
    assert done.outcome["reasons"]


def test_a_wrong_request_fails_at_once_and_a_broken_generator_is_tried_again(house: Any) -> None:
    queue, worker = house
    wrong, _ = queue.put(order(request={**REQUEST, "steps": 100_000}))
    worker().run(threading.Event(), drain=True)
    assert queue.get(wrong.id).state == "failed"
    assert queue.get(wrong.id).outcome["code"] == "input.steps"
    assert queue.get(wrong.id).attempts == 1

    class Broken(FakeGenerator):
        def generate(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("/secret/folder is broken")

    flaky, _ = queue.put(order())
    lease = queue.lease("w")
    assert worker(generator=Broken()).work(lease).state == "queued"
    with session(queue.engine, write=True) as opened:
        opened.execute(update(Row).values(run_after=0))
    worker().run(threading.Event(), drain=True)
    done = queue.get(flaky.id)
    assert (done.state, done.attempts) == ("released", 2)


@pytest.mark.parametrize(
    ("code", "told"), [("generate.load", False), ("generate.no_model", False), ("generate.failed", False), ("generate.size", True)]
)  # fmt: skip
def test_what_a_model_says_of_this_machine_is_for_its_log_alone(
    house: Any, caplog: pytest.LogCaptureFixture, code: str, told: bool
) -> None:
    queue, worker = house

    class Broken(FakeGenerator):
        def generate(self, *_: Any, **__: Any) -> Any:
            raise GenerationError("/srv/models/secret-project has no model_index.json", code=code)

    job, _ = queue.put(order())
    lease = queue.lease("w")
    worker(generator=Broken()).work(lease)
    outcome = queue.get(job.id).outcome
    assert outcome["code"] == code
    assert ("secret-project" in json.dumps(outcome)) == told
    assert "secret-project" in caplog.text, "whoever runs it finds it there"


def test_a_worker_that_died_after_the_release_is_not_repeated(house: Any, installation: Any, make_engine: Any) -> None:
    queue, worker = house
    job, _ = queue.put(order())
    lease = queue.lease("dies")
    engine = make_engine()
    outcome = engine.generate(
        GenerateRequest("a red boat", seed=3, subject="ana", intent=intent_of(job.id, lease.job.attempts))
    )
    late(queue)  # and here it was killed, before it could say so
    worker().run(threading.Event(), drain=True)
    done = queue.get(job.id)
    assert (done.state, done.outcome["asset_id"]) == ("released", str(outcome.asset_id))
    with session(installation.log.engine) as opened:
        from filigrana.provenance.catalog import Catalog

        assert Catalog(opened).count() == 1


def test_a_worker_that_comes_back_late_can_release_nothing(house: Any, installation: Any, make_engine: Any) -> None:
    queue, worker = house
    job, _ = queue.put(order())
    slow = queue.lease("slow")
    first = intent_of(job.id, 1)

    class Slow(FakeGenerator):
        def generate(self, *given: Any, **more: Any) -> Any:
            # while it draws, its lease runs out, and another worker does the whole job
            late(queue)
            assert worker().run(threading.Event(), drain=True) == 1
            return super().generate(*given, **more)

    assert worker(generator=Slow()).work(slow) is None
    assert installation.ledger.state(first) == "abandoned"
    assert installation.ledger.state(intent_of(job.id, 2)) == "released"
    assert queue.get(job.id).state == "released"
    entries = [entry for _, entry in installation.log.entries() if entry.get("intent") == str(first)]
    assert [entry["code"] for entry in entries if entry["type"] == "abandoned"] == [SUPERSEDED]
    assert [entry["type"] for _, entry in installation.log.entries()].count("release") == 1


def test_a_job_that_is_cancelled_while_it_runs_ends_unless_it_was_released(house: Any, installation: Any) -> None:
    queue, worker = house
    queue.seconds = 0.3
    job, _ = queue.put(order())

    class Waits(FakeGenerator):
        def generate(self, sampling: Any, progress: Any, *more: Any) -> Any:
            queue.cancel(job.id)
            time.sleep(0.4)
            progress(1, 2)
            return super().generate(sampling, progress, *more)

    lease = queue.lease("w")
    done = worker(generator=Waits()).work(lease)
    assert done.state == "cancelled"
    assert installation.ledger.state(intent_of(job.id, 1)) in ("failed", "abandoned")


def test_a_job_whose_workers_are_lost_every_time_fails_with_the_reason_and_can_be_tried_again(house: Any) -> None:
    queue, worker = house
    job, _ = queue.put(order())
    for _ in range(3):
        assert queue.lease("w") is not None
        late(queue)
    assert worker().run(threading.Event(), drain=True) == 1
    failed = queue.get(job.id)
    assert (failed.state, failed.outcome["code"]) == ("failed", "jobs.lost")
    assert queue.retry(job.id).state == "queued"
    assert worker().run(threading.Event(), drain=True) == 1
    done = queue.get(job.id)
    assert (done.state, done.attempts) == ("released", 5)  # new numbers: the old intents stay closed
    with pytest.raises(JobError):
        queue.retry(job.id)


@pytest.mark.parametrize("how", ["used up", "cancelled", "erased"])
def test_what_was_released_before_its_worker_died_stays_released_whatever_happened_since(
    house: Any, installation: Any, make_engine: Any, how: str
) -> None:
    queue, worker = house
    job, _ = queue.put(order())
    queue.attempts = 1
    assert queue.lease("dies") is not None
    make_engine().generate(GenerateRequest("a red boat", seed=3, subject="ana", intent=intent_of(job.id, 1)))
    late(queue)
    if how == "cancelled":
        assert queue.cancel(job.id).state == "running"
    if how == "erased":
        installation.ledger.erase("ana")
    worker().run(threading.Event(), drain=True)
    assert queue.get(job.id).state == "released"
    assert [entry["type"] for _, entry in installation.log.entries()].count("release") == 1


def test_an_error_after_the_release_is_no_failure(
    house: Any, installation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, worker = house
    job, _ = queue.put(order())
    queue.attempts = 1
    monkeypatch.setattr(type(installation.log), "checkpoint", lambda *_: (_ for _ in ()).throw(LogError("away")))
    worker().run(threading.Event(), drain=True)
    assert queue.get(job.id).state == "released"


def test_a_job_whose_texts_went_after_its_time_fails(house: Any, installation: Any) -> None:
    queue, worker = house
    job, _ = queue.put(order())
    assert queue.lease("dies") is not None
    late(queue)
    with session(queue.engine, write=True) as opened:
        opened.execute(text("DELETE FROM sealed_texts"))
    worker().run(threading.Event(), drain=True)
    assert queue.get(job.id).outcome["code"] == "provenance.erased"


def test_settling_fails_where_an_attempt_can_be_neither_read_nor_closed(
    house: Any, installation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _ = house
    ledger, job = installation.ledger, uuid4()
    ledger.open("generate", {}, texts={}, subject="ana", intent_id=intent_of(job, 1))
    monkeypatch.setattr(type(ledger), "close", lambda *_a, **_k: (_ for _ in ()).throw(LogError("away")))
    with pytest.raises(LogError):
        settle(ledger, job, 1)
    monkeypatch.undo()
    assert settle(ledger, job, 1) is None
    assert ledger.state(intent_of(job, 1)) == "abandoned"


def test_keys_for_idempotency_outlive_nothing_they_name(queue: JobQueue) -> None:
    job, _ = queue.put(order(key="k"))
    with session(queue.engine) as opened:
        assert opened.get(IdempotencyKey, ("press", "k")).job_id == job.id  # type: ignore[union-attr]


def test_a_worker_outlives_an_outbox_that_is_away_when_a_job_is_cancelled(
    house: Any, installation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, worker = house
    job, _ = queue.put(order())

    class Waits(FakeGenerator):
        def generate(self, *_: Any, **__: Any) -> Any:
            raise JobError("the job was taken from this worker", code="jobs.cancelled")

    lease = queue.lease("w")
    made = worker(generator=Waits())
    ledger = type(installation.ledger)
    row = ledger.row
    monkeypatch.setattr(ledger, "row", lambda *_: (_ for _ in ()).throw(LogError("away")))
    assert made.work(lease) is None
    assert queue.get(job.id).state == "running"
    monkeypatch.setattr(ledger, "row", row)
    # its lease runs out, and the next one ends it
    late(queue)
    assert worker().run(threading.Event(), drain=True) == 1
    assert queue.get(job.id).ended


def test_a_job_names_no_path_and_seals_nothing_that_did_not_come_in(house: Any) -> None:
    queue, worker = house
    job, _ = queue.put(order(kind="seal", request={"_file": "../../etc/hostname", "source_type": "camera"}, texts={}))
    worker().run(threading.Event(), drain=True)
    done = queue.get(job.id)
    assert (done.state, done.outcome["code"]) == ("failed", "input.job_file")
