"""Released assets in an object store, or anywhere that fsspec has a driver for: ``s3://bucket/prefix``, ``gs://…``.

What makes publishing atomic there is the server: S3 and Google Cloud Storage show an object when all of it has arrived,
and take it under the condition that none is there (``If-None-Match: *``). A server that does not know the condition is
asked first whether there is one. Other drivers get the file under another name, and it is then renamed.

Whatever a driver says may hold addresses and keys, so only the kind of its error is told. Credentials are found where
the driver looks for them (for S3: the environment, ``~/.aws``, the machine's role), and never in our settings.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from ..errors import ReleaseError, SettingsError
from ..provenance.identity import AssetId
from ..provenance.log.places import shown
from .store import public_name
from .store_cache import StoreCache

T = TypeVar("T")
CONDITIONAL = frozenset({"s3", "s3a", "gs", "gcs"})
"""Drivers that show whole objects only, and put them under a condition."""
PROBE = ".ready"
"""What is written to see whether the store takes anything."""
TRUSTED, DOUBTED = 30.0, 2.0
"""Seconds for which its answer is believed, and for which none is asked for again after a vain attempt."""
PART = 8 << 20
_AT_ONCE = 4
"""So many parts of that size are in memory at most."""
_VERSION = ("ETag", "etag", "generation", "md5Hash", "content_md5", "LastModified", "mtime", "updated", "created")


class UrlStore:
    """An AssetStore at an address. ``timeout``: seconds of silence after which it counts as out of reach."""

    def __init__(self, url: str, cache: StoreCache, *, timeout: float = 30.0) -> None:
        self._name, self._cache = shown(url), cache
        self._system, self._root = _opened(url, timeout)
        protocol = self._system.protocol
        self._conditional = bool(CONDITIONAL & set([protocol] if isinstance(protocol, str) else protocol))
        self._s3 = "s3" in protocol
        self._answered: float | None = None
        self._refused: tuple[float, ReleaseError] | None = None
        self._lock = threading.Lock()

    # ── names ────────────────────────────────────────────────────────────────────────────────────────────────
    def name(self, asset_id: AssetId, mime: str) -> str:
        return public_name(asset_id, mime)

    def path(self, name: str) -> Path:
        return self._cache.path(name)

    def where(self, name: str) -> str:
        return f"{self._name.rstrip('/')}/{name}"

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────────────
    def ready(self) -> None:
        """Writes a small object, if nothing was written for a while."""
        with self._lock:
            if self._answered is not None and time.monotonic() - self._answered < TRUSTED:
                return
            if self._refused is not None and time.monotonic() - self._refused[0] < DOUBTED:
                raise self._refused[1].with_traceback(None)
            try:
                self._asked("be written to", lambda: self._system.pipe_file(self._at(PROBE), b"filigrana\n"))
            except ReleaseError as error:
                self._refused = (time.monotonic(), error)
                raise
            self._answered, self._refused = time.monotonic(), None

    def exists(self, name: str) -> bool:
        return self._info(name) is not None

    def fetched(self, name: str) -> Path:
        """A copy on this machine, of what lies there now. Raises FileNotFoundError where there is none."""
        info = self._info(name)
        if info is None:
            raise FileNotFoundError(2, "no such asset in the store", name)
        version, size = _version(info), int(info["size"])
        kept = self._cache.fresh(name, version, size)
        if kept is not None:
            return kept

        def read(part: Path) -> None:
            self._asked("be read", lambda: self._system.get_file(self._at(name), str(part), **self._parts(size)))
            if part.stat().st_size != size:
                raise _unreachable(f"the store {self._name} sent less than all of a file")

        return self._cache.fetch(name, version, read)

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────
    def publish(self, staged: Path, name: str) -> None:
        """Puts ``staged`` under its public name, and keeps a copy here. Never over another object; one with the same
        bytes was put by an earlier try, whose answer was lost."""
        size = staged.stat().st_size
        try:
            if self.exists(name) or not self._created(staged, name):
                self._must_be(staged, name)
            info = self._info(name)
            if info is None or int(info["size"]) != size:
                raise _unreachable(f"the store {self._name} does not have what was put there")
        except ReleaseError:
            self._answered = None
            raise
        self._cache.take(staged, name, _version(info))

    def replace(self, staged: Path, name: str) -> None:
        """Puts ``staged`` in the place of what is published as ``name``."""
        if self._conditional:
            self._put(staged, self._at(name))
        else:
            self._moved(staged, name)
        info = self._info(name)
        if info is None or int(info["size"]) != staged.stat().st_size:
            raise _unreachable(f"the store {self._name} does not have what was put there")
        self._cache.take(staged, name, _version(info))

    def _created(self, staged: Path, name: str) -> bool:
        """False where an object of this name is there."""
        if not self._conditional:
            self._moved(staged, name)
            return True
        try:
            self._put(staged, self._at(name), mode="create")
        except FileExistsError:
            return False
        except ReleaseError as error:
            if not _unknown_condition(error.__cause__):
                raise
            self._put(staged, self._at(name))  # it was asked for the name just now
        return True

    def _put(self, staged: Path, target: str, **options: Any) -> None:
        options |= self._parts(staged.stat().st_size)
        self._asked("be written to", lambda: self._system.put_file(str(staged), target, **options))

    def _moved(self, staged: Path, name: str) -> None:
        target = self._at(name)
        part = f"{target}.{uuid4().hex}.part"
        try:
            self._asked("be written to", lambda: self._system.makedirs(target.rpartition("/")[0], exist_ok=True))
            self._put(staged, part)
            self._asked("be written to", lambda: self._system.mv(part, target))
        except BaseException:
            try:
                self._system.rm_file(part)
            except Exception:  # noqa: BLE001, S110  the first error is the one to tell
                pass
            raise

    def _must_be(self, staged: Path, name: str) -> None:
        there = self.fetched(name)
        with there.open("rb") as one, staged.open("rb") as other:
            if file_digest(one, "sha256").digest() != file_digest(other, "sha256").digest():
                raise ReleaseError("an asset of this id was released before", code="release.twice")

    # ── the driver ───────────────────────────────────────────────────────────────────────────────────────────
    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _parts(self, size: int) -> dict[str, Any]:
        """How the S3 driver cuts a file: 10,000 parts at most."""
        return {"chunksize": max(PART, size // 9000), "max_concurrency": _AT_ONCE} if self._s3 else {}

    def _info(self, name: str) -> dict[str, Any] | None:
        def ask() -> dict[str, Any] | None:
            self._system.invalidate_cache()
            try:
                found: dict[str, Any] = self._system.info(self._at(name))
            except FileNotFoundError:
                return None
            return found if found.get("type") == "file" else None

        return self._asked("be asked", ask)

    def _asked(self, what: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except FileExistsError:
            raise
        except PermissionError as error:
            raise _denied(f"the store {self._name} cannot {what}: it does not let us in") from error
        except FileNotFoundError as error:
            raise ReleaseError(
                f"the store {self._name} cannot {what}: there is no such bucket or folder",
                code="release.store.missing",
                hint="Make it, or correct the setting `store`.",
            ) from error
        except ReleaseError:
            raise
        except Exception as error:  # every driver has errors of its own
            kind = type(error.__cause__ or error).__name__
            if "Credential" in kind:
                raise _denied(f"the store {self._name} cannot {what}: no credentials are found") from error
            raise _unreachable(f"the store {self._name} cannot {what} ({kind})") from error


def _denied(message: str) -> ReleaseError:
    return ReleaseError(
        message,
        code="release.store.denied",
        hint="Check the credentials that its driver finds, and what they may do there (read, list and write).",
    )


def _unreachable(message: str) -> ReleaseError:
    return ReleaseError(
        message,
        code="release.store",
        hint="What stands in the log as released is published once the store answers again; nothing else is released "
        "meanwhile.",
    )


def _opened(url: str, timeout: float) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise SettingsError(
            "a store at an address needs fsspec and a driver",
            code="settings.extra",
            hint="pip install 'filigrana[s3]' for s3://; for others `fsspec` and their driver, such as gcsfs.",
        ) from None
    options: dict[str, Any] = {}
    if url.startswith(("s3://", "s3a://")):
        limits = {"connect_timeout": min(timeout, 10.0), "read_timeout": timeout, "retries": {"max_attempts": 2}}
        options = {"config_kwargs": limits}
    try:
        system, root = url_to_fs(url, skip_instance_cache=True, use_listings_cache=False, **options)
    except ImportError as error:
        raise SettingsError(
            f"no driver for {shown(url)}", code="settings.extra", hint="pip install 'filigrana[s3]' for s3://."
        ) from error
    except Exception as error:
        raise SettingsError(f"{shown(url)} is no address that fsspec knows", code="settings.store") from error
    system.retries = 2
    return system, str(root)


def _version(info: dict[str, Any]) -> str:
    return "|".join(f"{name}={info[name]}" for name in ("size", *_VERSION) if name in info)


def _unknown_condition(error: BaseException | None) -> bool:
    """Whether the server does not know ``If-None-Match`` on a put."""
    while error is not None:
        said = getattr(error, "response", None)
        if isinstance(said, dict):
            status = said.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return bool(said.get("Error", {}).get("Code") == "NotImplemented" or status == 501)
        error = error.__cause__
    return False
