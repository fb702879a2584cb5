"""Checkpoints leave the house: which targets the settings name, and publishing after a release when it is due."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from ..errors import FiligranaError, SettingsError

if TYPE_CHECKING:
    from ..provenance.log.note import VerifierKey
    from ..provenance.log.publishers import Publisher
    from ..provenance.log.publishing import Publishing
    from .installation import Installation

TIMEOUT = 15.0
"""Seconds that each stage of publishing may take (cosigning, stamping, storing)."""
JOIN = 20.0
"""Seconds that closing an installation waits for publishing to end; what is not done then is due the next time."""
_log = logging.getLogger(__name__)


def make_publishing(installation: Installation) -> Publishing:
    """The targets of the settings. Raises SettingsError that names the one that is wrong. Connects to nothing."""
    from ..provenance.log.publishing import Publishing

    settings = installation.settings
    publishers: list[Publisher] = []
    witnesses: list[VerifierKey] = []
    for number, target in enumerate(settings.log_publish, 1):
        try:
            publisher = _publisher(installation, target)
        except FiligranaError as error:
            raise SettingsError(
                f"target {number} of log_publish cannot be used: {error.message}", hint=error.hint
            ) from error
        publishers.append(publisher)
        witnesses += getattr(publisher, "keys", ())
    try:
        return Publishing(
            publishers,
            installation.folder,
            entries=settings.checkpoint_entries,
            seconds=settings.checkpoint_seconds,
            witnesses=witnesses,
            quorum=settings.log_witness_quorum,
            timeout=TIMEOUT,
            clock=lambda: installation.clock().timestamp(),
        )
    except FiligranaError as error:
        raise SettingsError(f"log_publish and log_witness_quorum do not fit: {error.message}") from error


def _publisher(installation: Installation, target: str) -> Publisher:
    from ..provenance.log.places import FolderPlace, is_url, place
    from ..provenance.log.publishers import PlacePublisher, StampPublisher, WitnessPublisher

    if target == "tsa":
        return StampPublisher(installation.tsa, lambda: time_stamp_roots(installation), TIMEOUT)
    if target.startswith("witness+"):
        return WitnessPublisher.parse(target, TIMEOUT)
    if is_url(target):
        return PlacePublisher(place(target))
    return PlacePublisher(FolderPlace(Path(target).expanduser()))


def time_stamp_roots(installation: Installation) -> list[x509.Certificate]:
    """Every certificate on a list of time-stamp authorities that this installation believes."""
    found = []
    for item in installation.trust.tsa:
        try:
            found += x509.load_pem_x509_certificates(item.pem.encode())
        except ValueError as error:
            raise SettingsError("a list of time-stamp authorities holds a broken certificate") from error
    return found


def published_if_due(installation: Installation) -> None:
    """Starts publishing in a thread when it is due. Never raises: a release that is done stays done."""
    if not installation.settings.log_publish:
        return
    try:
        running = installation.publisher
        if running is not None and running.is_alive():
            return
        if not installation.publishing.due(installation.log.size(), installation.clock().timestamp()):
            return
        installation.publisher = threading.Thread(
            target=_publish, args=(installation,), name="filigrana-publishing", daemon=True
        )
        installation.publisher.start()
    except Exception as error:  # noqa: BLE001  whatever it is, it is no reason to lose the outcome
        _warn(error)


def finish_publishing(installation: Installation) -> None:
    """Waits a bounded time for what is on its way."""
    running = installation.publisher
    if running is None:
        return
    running.join(JOIN)
    if running.is_alive():
        _log.warning("checkpoints are still being published; what is not done is due the next time")


def _publish(installation: Installation) -> None:
    try:
        report = installation.publishing.run(installation.log)
    except Exception as error:  # noqa: BLE001  as above
        _warn(error)
        return
    for target in report.targets:
        if not target.ok:
            _log.warning("the checkpoint was not published to %s: %s", target.name, target.detail)
    for problem in report.problems:
        _log.warning("the checkpoint over %d entries: %s", report.size, problem)


def _warn(error: Exception) -> None:
    said = f"{error.message} [{error.code}]" if isinstance(error, FiligranaError) else type(error).__name__
    _log.warning("checkpoints cannot be published: %s", said)
