"""Each fuzz target for a moment: its seeds, and a few hundred cuts, flips, splices and repetitions of them.

The long runs are `python -m filigrana.tests.fuzz`; what they found is pinned below.
"""

from __future__ import annotations

import random

import pytest

from filigrana.tests.fuzz.targets import TARGETS, run

ROUNDS = 150
FOUND = [("catalog_setting", b"http://[::1"), ("catalog_setting", b"http://x:70000")]


def mutated(rng: random.Random, seeds: list[bytes]) -> bytes:
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if data:
                data[at % len(data)] = rng.randrange(256)
            case 1:
                del data[at : at + rng.randrange(1, 64)]
            case 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 16))
            case 3:
                other = rng.choice(seeds)
                data[at : at + 32] = other[at : at + 64]
            case 4:
                data[at:at] = data[at : at + 32] * rng.randrange(1, 8)
            case _:
                data[at : at + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"null", b"[[[[", b'""'])
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_raises_nothing_but_our_errors(name: str) -> None:
    seeds = TARGETS[name][1]()
    for seed in [*seeds, b"", b"\0", b"\xff" * 100]:
        run(name, seed)
    rng = random.Random(name)
    for _ in range(ROUNDS):
        run(name, mutated(rng, seeds))


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_fuzzing_found_stays_mended(name: str, data: bytes) -> None:
    run(name, data)


def test_a_target_can_fail() -> None:
    """Negative control: an error that is not ours comes through."""
    TARGETS["control"] = (lambda data: [][len(data)], lambda: [b""])
    try:
        with pytest.raises(IndexError):
            run("control", b"x")
    finally:
        del TARGETS["control"]
