"""A witness must never cosign two histories of one log: not when it is killed at any step, not when it is asked by
many at once, not when two processes share its folder. Each check is shown to notice a witness that does.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from filigrana.errors import LogError
from filigrana.provenance.log.cosignature import cosignatures
from filigrana.provenance.log.note import Checkpoint, VerifierKey
from filigrana.provenance.log.witness import SIZE_TYPE, Answer, Witness, format_request, load_keys
from filigrana.provenance.log.witness_server import serving
from filigrana.provenance.log.witness_state import WitnessState
from filigrana.tests.small_log import WITNESS, SmallLog

FORK = 4  # the two histories share their first entries


@pytest.fixture
def log(tmp_path: Path) -> SmallLog:
    return SmallLog(tmp_path / "log.key", leaves=40)


@pytest.fixture
def forked(tmp_path: Path, log: SmallLog) -> SmallLog:
    return log.fork(tmp_path / "log.key", FORK, 40)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Witness.create(tmp_path / "witness", WITNESS)
    return tmp_path / "witness"


def two_histories(cosigned: Iterable[str], log: SmallLog, forked: SmallLog, keys: Iterable[VerifierKey]) -> bool:
    """Whether these notes, each with the witness's line, belong to both histories."""
    sides = set()
    for note in cosigned:
        assert cosignatures(note, keys), "every note here was answered with 200"
        head = Checkpoint.open(note, [log.signer.verifier_key])
        if head.size > FORK:
            sides.add(head.root == log.checkpoint(head.size).root)
            assert head.root in (log.checkpoint(head.size).root, forked.checkpoint(head.size).root)
    return len(sides) == 2


def try_everything(witness: Witness, *logs: SmallLog) -> list[str]:
    """What a witness cosigns when it is shown every head of these histories, from every size that it may know."""
    cosigned = []
    for one in logs:
        for size in range(1, len(one.hashes) + 1, 3):
            for old in {0, *(item.checkpoint.size for item in witness.seen())}:
                if old <= size:
                    answer = witness.add_checkpoint(old, one.prove(old, size), one.note(size))
                    if answer.status == 200:
                        cosigned.append(one.note(size) + answer.body)
                    else:
                        assert answer.status in (409, 422)
    return cosigned


# --- a split view


def test_a_split_view_is_refused(folder: Path, log: SmallLog, forked: SmallLog) -> None:
    witness = Witness.open(folder, [log.signer.verifier_key])
    assert witness.add_checkpoint(0, [], log.note(10)).status == 200
    assert witness.add_checkpoint(10, [], forked.note(10)).status == 409
    assert witness.add_checkpoint(10, forked.prove(10, 30), forked.note(30)).status == 422
    assert witness.add_checkpoint(10, log.prove(10, 30), forked.note(30)).status == 422
    assert witness.add_checkpoint(0, [], forked.note(30)).content_type == SIZE_TYPE
    assert witness.add_checkpoint(FORK, forked.prove(FORK, 30), forked.note(30)).status == 409
    assert witness.add_checkpoint(10, log.prove(10, 30), log.note(30)).status == 200


def test_whatever_is_shown_one_history_is_cosigned(folder: Path, log: SmallLog, forked: SmallLog) -> None:
    witness = Witness.open(folder, [log.signer.verifier_key])
    cosigned = try_everything(witness, log, forked)
    assert len(cosigned) > 10
    assert not two_histories(cosigned, log, forked, witness.keys)


def test_a_smaller_tree_is_never_cosigned_again(folder: Path, log: SmallLog) -> None:
    witness = Witness.open(folder, [log.signer.verifier_key])
    assert witness.add_checkpoint(0, [], log.note(20)).status == 200
    for old in (0, 10, 20):
        assert witness.add_checkpoint(old, [], log.note(10)).status in (400, 409)


# --- killed at any step

# The process that is killed: `kind` and `count` say before or after which call of os.
KILLED = """
import os, signal, sys
from pathlib import Path
from filigrana.provenance.log import witness_state
from filigrana.provenance.log.note import VerifierKey
from filigrana.provenance.log.witness import Witness

folder, key, request, name, count, when = sys.argv[1:]
left = int(count)
real = getattr(os, name)

def patched(*arguments, **options):
    global left
    left -= 1
    if left == 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*arguments, **options)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

witness = Witness.open(Path(folder), [VerifierKey.parse(key)])
BREAK
setattr(os, name, patched)
answer = witness.answer(Path(request).read_bytes())
sys.stdout.write(f"{answer.status}\\n{answer.body}")
sys.stdout.flush()
"""
# One that answers first and writes later: the test must notice it.
ANSWERS_EARLY = KILLED.replace(
    "BREAK",
    """
keep = witness_state.WitnessState.keep
def early(self, origin, note):
    lines = [line for line in note.splitlines(keepends=True) if line.startswith("— witness")]
    sys.stdout.write("200\\\\n" + "".join(lines))
    sys.stdout.flush()
    keep(self, origin, note)
witness_state.WitnessState.keep = early
""".replace("\\\\n", "\\n"),
)
STEPS = [
    (name, count, when)
    for name, count in (("fsync", 1), ("replace", 1), ("fsync", 2), ("close", 1), ("close", 2))
    for when in ("before", "after")
]


def run(program: str, folder: Path, log: SmallLog, request: bytes, *step: object) -> tuple[int, str]:
    (folder / "request").write_bytes(request)
    words = [str(folder), str(log.signer.verifier_key), str(folder / "request"), *map(str, step)]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def survives(program: str, folder: Path, log: SmallLog, forked: SmallLog, *step: object) -> bool:
    """Whether one history at most is cosigned when the witness is killed at this step, and then shown the other."""
    key = log.signer.verifier_key
    assert Witness.open(folder, [key]).add_checkpoint(0, [], log.note(FORK)).status == 200
    request = format_request(FORK, log.prove(FORK, 20), log.note(20))
    code, said = run(program, folder, log, request, *step)
    assert code == -9, "it was killed"
    cosigned = [log.note(20) + said.removeprefix("200\n")] if said else []
    witness = Witness.open(folder, [key])
    assert [item.checkpoint.size for item in witness.seen()] in ([FORK], [20])
    after = try_everything(witness, forked, log)
    assert after, "it goes on"
    return not two_histories(cosigned + after, log, forked, witness.keys)


@pytest.mark.parametrize(("name", "count", "when"), STEPS)
def test_a_kill_at_any_step_loses_an_answer_at_most(
    folder: Path, log: SmallLog, forked: SmallLog, name: str, count: int, when: str
) -> None:
    assert survives(KILLED.replace("BREAK", ""), folder, log, forked, name, count, when)


def test_the_kill_test_notices_a_witness_that_answers_before_it_writes(
    folder: Path, log: SmallLog, forked: SmallLog
) -> None:
    assert not survives(ANSWERS_EARLY, folder, log, forked, "fsync", 1, "before")


def test_killed_between_writing_and_answering_it_answers_when_asked_again(folder: Path, log: SmallLog) -> None:
    key = log.signer.verifier_key
    code, said = run(KILLED.replace("BREAK", ""), folder, log, format_request(0, [], log.note(20)), "fsync", 2, "after")
    assert (code, said) == (-9, "")
    witness = Witness.open(folder, [key])
    assert [item.checkpoint.size for item in witness.seen()] == [20]
    assert witness.add_checkpoint(0, [], log.note(20)).body == "20\n"
    assert witness.add_checkpoint(20, [], log.note(20)).status == 200


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_disk_that_fails_yields_no_cosignature(
    folder: Path, log: SmallLog, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = Witness.open(folder, [log.signer.verifier_key])

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"filigrana.provenance.log.witness_state.os.{name}", fails)
        with pytest.raises(LogError) as caught:
            witness.add_checkpoint(0, [], log.note(5))
    assert caught.value.code == "log.witness"
    assert witness.seen() == ()
    assert witness.add_checkpoint(0, [], log.note(5)).status == 200


# --- many at once


def race(witnesses: list[Witness], log: SmallLog, forked: SmallLog, seed: int) -> list[str]:
    """Threads that show both histories to these witnesses in random order, each from the size that is known."""
    cosigned: list[str] = []

    def work(number: int) -> None:
        dice = random.Random(f"{seed}-{number}")
        witness = witnesses[number % len(witnesses)]
        side = (log, forked)[dice.randrange(2)]
        known = 0
        for _ in range(12):
            size = dice.randint(max(known, 1), 40)
            answer = witness.add_checkpoint(known, side.prove(known, size), side.note(size))
            if answer.status == 200:
                cosigned.append(side.note(size) + answer.body)
                known = size
            elif answer.content_type == SIZE_TYPE:
                known = int(answer.body)
            else:
                side = (log, forked)[dice.randrange(2)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    return cosigned


@pytest.mark.parametrize("seed", range(3))
def test_concurrent_submissions_cosign_one_history(folder: Path, log: SmallLog, forked: SmallLog, seed: int) -> None:
    """Two witnesses over one folder stand for two processes: file locks do not know the difference."""
    both = [Witness.open(folder, [log.signer.verifier_key]) for _ in range(2)]
    cosigned = race(both, log, forked, seed)
    assert len(cosigned) > 3
    assert not two_histories(cosigned, log, forked, both[0].keys)
    assert both[0].seen() == both[1].seen()


class Unlocked(WitnessState):
    """Waits after looking until the other has looked as well: what a missing lock allows."""

    barrier = threading.Barrier(2, timeout=10)

    @contextmanager
    def alone(self) -> Iterator[None]:
        self.barrier.wait()
        yield

    def keep(self, origin: str, note: str) -> None:
        self.barrier.wait()
        with WitnessState.alone(self):
            super().keep(origin, note)


def test_the_race_test_notices_a_missing_lock(folder: Path, log: SmallLog, forked: SmallLog) -> None:
    keys = load_keys(folder)
    state = Unlocked(folder / "state", [key.verifier_key for key in keys])
    witness = Witness(state, keys, [log.signer.verifier_key])
    with ThreadPoolExecutor(2) as pool:
        answers: list[Answer] = list(pool.map(lambda one: witness.add_checkpoint(0, [], one.note(20)), (log, forked)))
    cosigned = [one.note(20) + answer.body for one, answer in zip((log, forked), answers, strict=True)]
    assert two_histories(cosigned, log, forked, witness.keys)


PROCESS = """
import sys
from pathlib import Path
from filigrana.provenance.log.note import VerifierKey
from filigrana.provenance.log.witness import Witness

folder, key, *requests = sys.argv[1:]
witness = Witness.open(Path(folder), [VerifierKey.parse(key)])
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
for request in requests:
    body = Path(request).read_bytes()
    answer = witness.answer(body)
    if answer.status == 200:
        sys.stdout.write(body.decode().split("\\n\\n", 1)[1] + answer.body + "---\\n")
"""


def test_two_processes_cosign_one_history(folder: Path, tmp_path: Path, log: SmallLog, forked: SmallLog) -> None:
    processes = []
    for one, name in ((log, "log"), (forked, "forked")):
        paths = []
        for size in range(10, 40, 3):
            path = tmp_path / f"{name}-{size}"
            old = size - 3 if size > 10 else 0
            path.write_bytes(format_request(old, one.prove(old, size), one.note(size)))
            paths.append(str(path))
        words = [sys.executable, "-c", PROCESS, str(folder), str(log.signer.verifier_key), *paths]
        processes.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    notes = [note for process in processes for note in process.communicate(timeout=60)[0].split("---\n") if note]
    assert all(process.returncode == 0 for process in processes)
    witness = Witness.open(folder, [log.signer.verifier_key])
    assert len(notes) == 10  # the history that came first, and nothing of the other
    assert not two_histories(notes, log, forked, witness.keys)


def test_a_lock_that_is_held_stops_it(folder: Path, log: SmallLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filigrana.provenance.log.witness_state.LOCK_SECONDS", 0.1)
    first, second = (Witness.open(folder, [log.signer.verifier_key]) for _ in range(2))
    with first._state.alone(), pytest.raises(LogError, match="locked by another process"):
        second.add_checkpoint(0, [], log.note(5))
    assert second.add_checkpoint(0, [], log.note(5)).status == 200


def test_concurrent_submissions_over_http(folder: Path, log: SmallLog, forked: SmallLog) -> None:
    import httpx

    witness = Witness.open(folder, [log.signer.verifier_key])
    with serving(witness) as url, httpx.Client(trust_env=False, timeout=30) as client:

        def submit(one: SmallLog) -> str | None:
            answer = client.post(f"{url}/add-checkpoint", content=format_request(0, [], one.note(20)))
            assert answer.status_code in (200, 409)
            return one.note(20) + answer.text if answer.status_code == 200 else None

        with ThreadPoolExecutor(8) as pool:
            found = [note for note in pool.map(submit, [log, forked] * 8) if note is not None]
    assert len(found) == 1
    assert not two_histories(found, log, forked, witness.keys)
