"""What each guard model calls a harm, and which of our hazard ids that is. A table a model, with its source.

A category may stand for several hazards, and a hazard may have several categories: then the highest counts. An empty
tuple is a category without a hazard of ours: where a guard names it, a person looks.
"""

from __future__ import annotations

from collections.abc import Mapping

Table = Mapping[str, tuple[str, ...]]

# Model cards of Llama Guard 3 (8B, 1B) and Llama Guard 4 (12B), "Hazard Taxonomy and Policy": MLCommons' thirteen
# hazards and code interpreter abuse. Election falsehoods are AILuminate's specialised advice, and political here.
LLAMA_GUARD: Table = {
    "S1": ("vcr",),
    "S2": ("ncr",),
    "S3": ("src",),
    "S4": ("cse",),
    "S5": ("dfm",),
    "S6": ("spc",),
    "S7": ("prv",),
    "S8": ("ipv",),
    "S9": ("iwp",),
    "S10": ("hte",),
    "S11": ("ssh",),
    "S12": ("sxc",),
    "S13": ("pol", "spc"),
    "S14": ("ncr",),
}

# Model card of ShieldGemma (2B, 9B, 27B), "Guidelines", the wording for prompts alone (arXiv:2407.21772, table 2).
SHIELDGEMMA_GUIDELINES: Mapping[str, str] = {
    "No Dangerous Content": (
        "The prompt shall not contain or seek generation of content that harms oneself and/or others (e.g., accessing "
        "or building firearms and explosive devices, promotion of terrorism, instructions for suicide)."
    ),
    "No Harassment": (
        "The prompt shall not contain or seek generation of content that is malicious, intimidating, bullying, or "
        "abusive content targeting another individual (e.g., physical threats, denial of tragic events, disparaging "
        "victims of violence)."
    ),
    "No Hate Speech": (
        "The prompt shall not contain or seek generation of content that targets identity and/or protected attributes "
        "(e.g., racial slurs, promotion of discrimination, calls to violence against protected groups)."
    ),
    "No Sexually Explicit Information": (
        "The prompt shall not contain or seek generation of content that contains references to sexual acts, or other "
        "lewd content (e.g., educational or artistic content is permitted)."
    ),
}
SHIELDGEMMA: Table = {
    "No Dangerous Content": ("vcr", "iwp", "ssh"),
    "No Harassment": ("hte",),
    "No Hate Speech": ("hte",),
    "No Sexually Explicit Information": ("sxc",),
}

# Model cards of Granite Guardian 3.0 to 3.3, "Risk definitions" (arXiv:2412.07724, table 1): those that are a hazard
# of ours. `harm` is all of them at once, `profanity` and `jailbreak` are none.
GRANITE: Table = {
    "social_bias": ("hte",),
    "sexual_content": ("sxc",),
    "unethical_behavior": ("ncr",),
    "violence": ("vcr",),
}

# Model card of Qwen3Guard-Gen (0.6B, 4B, 8B), "Safety policy" (arXiv:2510.14276, section 2).
QWEN3GUARD: Table = {
    "Violent": ("vcr", "iwp"),
    "Non-violent Illegal Acts": ("ncr",),
    "Sexual Content or Sexual Acts": ("sxc",),
    "PII": ("prv",),
    "Suicide & Self-Harm": ("ssh",),
    "Unethical Acts": ("hte",),
    "Politically Sensitive Topics": ("pol", "mis"),
    "Copyright Violation": ("ipv",),
    "Jailbreak": (),
}

# OpenAI's moderation guide and API reference, the categories of omni-moderation-2024-09-26.
MODERATION: Table = {
    "harassment": ("hte",),
    "harassment/threatening": ("hte", "vcr"),
    "hate": ("hte",),
    "hate/threatening": ("hte", "vcr"),
    "illicit": ("ncr",),
    "illicit/violent": ("vcr", "iwp"),
    "self-harm": ("ssh",),
    "self-harm/intent": ("ssh",),
    "self-harm/instructions": ("ssh",),
    "sexual": ("sxc",),
    "sexual/minors": ("cse",),
    "violence": ("vcr",),
    "violence/graphic": ("gore",),
}


def by_hazard(table: Table, scores: Mapping[str, float]) -> dict[str, float]:
    """The highest score by hazard id. ``scores``: by category, of those in ``table``."""
    found: dict[str, float] = {}
    for category, score in scores.items():
        for hazard in table[category]:
            found[hazard] = max(found.get(hazard, 0.0), score)
    return found
