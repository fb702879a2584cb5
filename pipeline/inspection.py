"""Verification as this installation does it: in confined children, with its trust lists, catalogs and limits.

On the host's side nothing decodes a stranger's file, and little is imported, so that `verify` answers at once.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..provenance.asked import Asked
from ..provenance.finding import Finding
from ..provenance.isolation.confine import Bounds
from ..provenance.isolation.host import IsolatedVerifier
from ..provenance.isolation.wire import Config
from ..provenance.scratch import ScratchFolder
from ..provenance.sidecar import sidecar_of

if TYPE_CHECKING:
    from ..provenance.resolver_port import Resolver
    from .settings import Settings

Source = Path | str | bytes


def config_of(settings: Settings, claim: Iterable[tuple[str, str]], tsa: Iterable[tuple[str, str]]) -> Config:
    key = settings.watermark_key
    return Config(
        claim=tuple(claim),
        tsa=tuple(tsa),
        key=None if key is None else key.get_secret_value().encode(),
        layers=tuple(settings.watermark_layers),
        pixels=settings.max_pixels,
        seconds=settings.max_seconds,
    )


class Inspector:
    """Verifies files. Thread-safe. ``resolvers``: asked in the host, from whichever thread verifies."""

    def __init__(
        self, settings: Settings, config: Config, resolvers: Callable[[], list[Resolver]], *, workers: int | None = None
    ) -> None:
        self.config, self._resolvers = config, resolvers
        bounds = Bounds(memory=settings.verify_memory << 20, cpu=settings.verify_seconds, wall=settings.verify_seconds)
        self._isolated = IsolatedVerifier(config, bounds, workers or settings.verify_workers)
        self._isolated.start()  # loads while the catalog is opened
        self._lock, self._busy, self._retired = threading.Lock(), 0, False

    def verify(self, source: Source, asked: Asked | None = None, *, seconds: float | None = None) -> Finding:
        """The finding for a file or its bytes. A manifest store beside the file (`clip.c2pa`) is taken along.
        ``seconds``: less time than `verify_seconds`."""
        asked = asked or Asked()
        with ExitStack() as stack:
            stack.enter_context(self._used())
            path = Path(source) if not isinstance(source, bytes) else _spooled(source, stack)
            if asked.sidecar is None and (beside := sidecar_of(path)) is not None:
                asked = replace(asked, sidecar=beside, found_beside=True)
            return self._isolated.verify(path, asked, self._resolvers(), seconds=seconds)

    def inspect(
        self, path: Path, *, at: dt.datetime | None = None, sidecar: Path | None = None, language: str = "en"
    ) -> dict[str, Any]:
        """The finding as the JSON values of the contract (docs/verify.md)."""
        return self.verify(path, Asked(at, sidecar)).as_dict(language)

    def many(self, sources: Iterable[Source], asked: Asked | None = None) -> Iterator[Finding]:
        """One finding after another, in order."""
        for source in sources:
            yield self.verify(source, asked)

    def close(self) -> None:
        """Whoever is verifying at this moment gets no finding."""
        self._isolated.close()

    def retire(self) -> None:
        """Closes it once nobody verifies with it: another one is used from now on."""
        with self._lock:
            self._retired = True
            self._close_if_idle()

    @contextmanager
    def _used(self) -> Iterator[None]:
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1
                self._close_if_idle()

    def _close_if_idle(self) -> None:
        """Under the lock: whoever begins at this moment waits, and starts it once more."""
        if self._retired and not self._busy:
            self.close()


def _spooled(data: bytes, stack: ExitStack) -> Path:
    path = stack.enter_context(ScratchFolder()) / "upload"
    path.write_bytes(data)
    return path
