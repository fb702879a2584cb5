"""What the service and its workers log: one line an event, as text or as JSON, and never a secret.

Messages are written without secrets in the first place. What may come in through an error of somebody else's (a
database address with its password, a header) is taken out here.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

from ..errors import SettingsError

_SECRETS = (
    (re.compile(r"fg_([0-9a-z]{12})_[A-Za-z0-9_-]{20,}"), r"fg_\1_…"),
    (re.compile(r"whsec_[A-Za-z0-9+/=_-]{8,}"), "whsec_…"),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), r"\1 …"),
    (re.compile(r"(\w://[^\s/:@]*):[^\s/@]+@"), r"\1:…@"),
    (re.compile(r"(?i)\b((?:\w*_)?(?:passphrase|password|secret|token|api_key|pin))(['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&]+"),
     r"\1\2…"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), "…"),
)  # fmt: skip


def clean(text: str) -> str:
    """Without whatever looks like a secret."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


class _Stderr(logging.StreamHandler[Any]):
    """Writes to whatever standard error is at that moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, _: Any) -> None: ...


def set_up(form: str, part: str) -> None:
    """From now on, what this process logs goes to standard error, and what libraries warn of with it. ``part``: serve
    or worker, in each JSON line. Raises SettingsError where JSON is asked for and structlog is not installed."""
    handler = _Stderr()
    handler.setFormatter(_json(part) if form == "json" else _Text("%(asctime)s %(levelname)s %(name)s %(message)s"))
    # At the root, since `logging.info` of a library (open_clip's) puts a handler there where it finds none: that one
    # would write each line again, in its own form, and with whatever secrets are in it.
    top = logging.getLogger()
    for old in [each for each in top.handlers if type(each) in (_Stderr, logging.StreamHandler)]:
        top.removeHandler(old)
    top.addHandler(handler)
    logging.getLogger("filigrana").setLevel(logging.INFO)


def _json(part: str) -> logging.Formatter:
    try:
        import structlog
    except ModuleNotFoundError as error:
        raise SettingsError(
            "logs as JSON need the package structlog",
            code="settings.extra",
            hint="Run `pip install 'filigrana[serve]'`.",
        ) from error

    def cleaned(_logger: Any, _name: str, event: Any) -> Any:
        return {key: clean(value) if isinstance(value, str) else value for key, value in event.items()}

    def labelled(_logger: Any, _name: str, event: Any) -> Any:
        return {"part": part, **event}

    formatter: logging.Formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            labelled,
            cleaned,
            structlog.processors.JSONRenderer(ensure_ascii=True),
        ],
    )
    return formatter
