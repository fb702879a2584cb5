"""Work that may take only so long: tokens, key services and time-stamp authorities are other people's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from ..errors import ManifestError

T = TypeVar("T")


def bounded(work: Callable[[], T], seconds: float, who: str) -> T:
    """What ``work`` gives or raises, if it ends within ``seconds``; else ManifestError (``provenance.signer.timeout``).

    It runs in a daemon thread, since a thread cannot be stopped: what comes late is dropped."""
    answers: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            answers.append(work())
        except BaseException as error:  # noqa: BLE001  handed on to the waiting thread, whatever it is
            errors.append(error)

    thread = threading.Thread(target=target, name="filigrana-bounded", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise ManifestError(f"{who} gave no answer within {seconds:g} s", code="provenance.signer.timeout")
    if errors:
        raise errors[0]
    return answers[0]
