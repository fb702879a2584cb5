"""Loading policy packs for use: a pack judges only after its own tests have passed."""

from __future__ import annotations

from functools import lru_cache

from ..errors import PolicyError
from ..safety.decision import Decision
from ..safety.judge import judge_text, run_cases
from ..safety.policy import Pack, load_pack
from .guards import text_guards


def load_tested_pack(name_or_path: str) -> Pack:
    """The pack, parsed and tested. Raises PolicyError otherwise."""
    pack = load_pack(name_or_path)
    failed = run_cases(pack)
    if failed:
        rule, text, expected = failed[0]
        raise PolicyError(
            f"the policy pack {pack.ref.id} fails {len(failed)} of its own tests; first: rule {rule} "
            f"{'does not fire' if expected else 'fires'} on {text!r}",
            code="policy.tests",
        )
    return pack


@lru_cache(maxsize=8)
def _cached(name: str) -> Pack:
    return load_tested_pack(name)


def judge_prompt(text: str, policy: str = "newsroom") -> Decision:
    """Judges a prompt by a policy pack (a built-in name or a path), without generating or recording anything."""
    pack = _cached(policy)
    return judge_text(text, pack, text_guards(pack.requires.prompt))
