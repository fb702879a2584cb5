"""docs/compliance.md names every duty and every rule, with the rules that prove each, as the profiles have them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from filigrana.provenance.reports.duties import Duty, builtin, load
from filigrana.provenance.reports.rules import RULES

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "compliance.md").read_text("utf-8")
ROWS = [line.split("|") for line in TEXT.splitlines() if line.startswith("| `")]
DUTIES = [duty for name in builtin() for duty in load(name)[0].duties]


def rules_in(cell: str) -> set[str]:
    found = set(re.findall(r"R\d+", cell))
    for first, last in re.findall(r"R(\d+) to R(\d+)", cell):
        found |= {f"R{number}" for number in range(int(first), int(last) + 1)}
    return found


@pytest.mark.parametrize("duty", DUTIES, ids=[duty.id for duty in DUTIES])
def test_every_duty_is_mapped_to_what_is_done_and_to_what_proves_it(duty: Duty) -> None:
    rows = [row for row in ROWS if f"`{duty.id}`" in row[1]]
    assert len(rows) == 1, duty.id
    assert rows[0][3].strip()
    assert set(duty.rules) <= rules_in(rows[0][4]), duty.id
    assert ("secondary" in rows[0][2]) == duty.secondary


def test_every_rule_is_told() -> None:
    assert {rule for rule in RULES if not re.search(rf"^\| {rule} \|", TEXT, re.MULTILINE)} == set()
