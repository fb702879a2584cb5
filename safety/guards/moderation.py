"""An OpenAI-compatible moderation endpoint: ``POST …/moderations`` with ``{"model", "input"}``.

What leaves this machine is the prompt; the key goes into one header and nowhere else. An answer must have every
category of the table, each with a flag and a probability, and no other. Anything else is an error, as are a redirect,
an answer of more than 256 KiB, and an endpoint that does not answer in time. SafetyError: ``safety.unreachable``,
``safety.timeout``, ``safety.refused`` (an HTTP status), ``safety.schema``, ``safety.unknown_hazard``,
``safety.incomplete``, ``safety.not_a_number``, ``safety.too_long``.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from ...errors import SafetyError, SettingsError
from ..decision import ModelRef
from . import tables

MAX_ANSWER = 256 << 10
MAX_PART = 8_000
"""Characters sent at once. A longer prompt goes in parts that overlap by a quarter; the highest score counts."""
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ModerationGuard:
    """Guard `moderation`. ``url``: of the endpoint itself, such as https://api.openai.com/v1/moderations.
    ``key``: sent as a bearer token. ``seconds``: for all attempts together. ``retries``: after the first attempt."""

    name = "moderation"

    def __init__(
        self,
        url: str,
        *,
        model: str = "omni-moderation-latest",
        key: str | None = None,
        seconds: float = 20.0,
        retries: int = 2,
        table: tables.Table = tables.MODERATION,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise SettingsError("a moderation endpoint is an https address without a user's name")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise SettingsError("prompts go to a moderation endpoint over https, or to this machine")
        self._url, self._name, self._key, self._table = url, model, key, table
        self._seconds, self._retries, self._transport, self._pause = seconds, retries, transport, pause
        self._answered = model

    def __repr__(self) -> str:
        return f"ModerationGuard({self._url!r})"

    @property
    def model(self) -> ModelRef:
        """Nobody outside can hash its weights: ``version`` is the model that the endpoint says answered, ``digest`` is
        sha256 of the address, the name asked for and the table of categories."""
        asked = json.dumps([self._url, self._name, dict(self._table)], sort_keys=True).encode()
        return ModelRef(f"moderation:{urlsplit(self._url).hostname}", self._answered, hashlib.sha256(asked).hexdigest())

    def score(self, text: str) -> Mapping[str, float]:
        """Probabilities by hazard id. Raises SafetyError."""
        if not text.strip():
            raise SafetyError("there is nothing to judge", code="safety.empty")
        until = time.monotonic() + self._seconds
        found: dict[str, float] = {}
        for part in _parts(text):
            for category, score in self._one(part, until).items():
                found[category] = max(found.get(category, 0.0), score)
        return tables.by_hazard(self._table, found)

    # ── one request ──────────────────────────────────────────────────────────────────────────────────────────
    def _one(self, text: str, until: float) -> dict[str, float]:
        body = {"model": self._name, "input": text}
        for attempt in range(self._retries + 1):
            try:
                status, wait, data = self._post(body, until)
                if status == 200:
                    return self._read(data)
                error = SafetyError(f"the moderation endpoint answered {status}", code="safety.refused")
                if status not in _RETRIED:
                    raise error
            except httpx.TimeoutException:
                raise SafetyError("the moderation endpoint gave no answer in time", code="safety.timeout") from None
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as failure:
                # Its words may hold the address with what was sent to it.
                error, wait = (
                    SafetyError(
                        f"the moderation endpoint failed ({type(failure).__name__})", code="safety.unreachable"
                    ),
                    0.0,
                )
            wait = max(wait, 0.2 * 2**attempt)
            if attempt == self._retries or time.monotonic() + wait >= until:
                break
            self._pause(wait)
        raise error

    def _post(self, body: dict[str, str], until: float) -> tuple[int, float, bytes]:
        """Status, the seconds to wait that it asks for, and the answer."""
        left = until - time.monotonic()
        if left <= 0:
            raise httpx.ReadTimeout("no time is left")
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        with (
            httpx.Client(timeout=left, transport=self._transport, follow_redirects=False) as client,
            client.stream("POST", self._url, json=body, headers=headers) as response,
        ):
            data = b""
            for chunk in response.iter_raw():
                data += chunk
                if len(data) > MAX_ANSWER:
                    raise SafetyError("the moderation endpoint's answer is too large", code="safety.schema")
                # httpx limits each read, not their sum.
                if time.monotonic() > until:
                    raise httpx.ReadTimeout("too slow")
            return response.status_code, _retry_after(response.headers.get("retry-after")), data

    def _read(self, data: bytes) -> dict[str, float]:
        try:
            answer = json.loads(data.decode("utf-8"), object_pairs_hook=_once)
            (result,) = answer["results"]
            flagged, flags, scores = result["flagged"], result["categories"], result["category_scores"]
            said = answer["model"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise SafetyError("the moderation endpoint's answer has another form", code="safety.schema") from None
        if not isinstance(flagged, bool) or not isinstance(flags, dict) or not isinstance(scores, dict):
            raise SafetyError("the moderation endpoint's answer has another form", code="safety.schema")
        if not isinstance(said, str) or not 0 < len(said) <= 200:
            raise SafetyError("the moderation endpoint does not say which model answered", code="safety.schema")
        for named in (flags, scores):
            if not named.keys() <= self._table.keys():
                raise SafetyError("the moderation endpoint named an unknown category", code="safety.unknown_hazard")
            if named.keys() != self._table.keys():
                raise SafetyError("the moderation endpoint left a category out", code="safety.incomplete")
        if not all(isinstance(flag, bool) for flag in flags.values()) or flagged != any(flags.values()):
            raise SafetyError("the moderation endpoint contradicts itself", code="safety.schema")
        if not all(map(_probability, scores.values())):
            raise SafetyError("the moderation endpoint gave no probability", code="safety.not_a_number")
        self._answered = said
        return {category: float(score) for category, score in scores.items()}


def _probability(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0.0 <= value <= 1.0
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name that comes twice is read as one likes."""
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name twice")
    return dict(pairs)


def _retry_after(text: str | None) -> float:
    """Seconds; 0 where none are given, or a date."""
    try:
        seconds = float(text or 0)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def _parts(text: str) -> list[str]:
    if len(text) <= MAX_PART:
        return [text]
    stride = MAX_PART - MAX_PART // 4
    return [text[start : start + MAX_PART] for start in range(0, max(1, len(text) - MAX_PART // 4), stride)]
