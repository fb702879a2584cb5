"""The newest version of each policy pack that was ever in force here, in a small file of the data folder.

Unlike a cache it is believed: a damaged file means that nothing is judged, since an older pack might be put in force.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import PolicyError
from ..safety.decision import PolicyRef

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: one process at a time is up to the operator
    fcntl = None  # type: ignore[assignment]

FILE = "policy-in-force.json"
_MOST = 1 << 20
_VERSION = re.compile(r"\d{1,9}\.\d{1,9}\.\d{1,9}")


def ordered(version: str) -> tuple[int, ...]:
    """`major.minor.patch` as numbers. Raises ValueError."""
    if not _VERSION.fullmatch(version):
        raise ValueError("a version is major.minor.patch, of at most nine digits each")
    return tuple(int(part) for part in version.split("."))


class PolicyMemory:
    """``folder``: made at the first use, owner-only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def _path(self) -> Path:
        return self._folder / FILE

    def take(self, ref: PolicyRef) -> None:
        """Remembers that ``ref`` is in force. Raises PolicyError: ``policy.older`` when a newer version of the same id
        was in force already, ``policy.memory`` when that cannot be told or kept."""
        try:
            mine = ordered(ref.version)
        except ValueError as error:
            raise PolicyError(f"the policy pack {ref.id}: {error}") from error
        if self._checked(self._read(), ref, mine):
            return
        with self._alone():
            known = self._read()  # another process may have been quicker
            if not self._checked(known, ref, mine):
                self._write(known | {ref.id: {"version": ref.version, "digest": ref.digest}})

    def _checked(self, known: dict[str, dict[str, str]], ref: PolicyRef, mine: tuple[int, ...]) -> bool:
        """Whether ``ref`` is what is known. Raises PolicyError when it is older."""
        last = known.get(ref.id)
        if last is None:
            return False
        if mine < ordered(last["version"]):
            raise PolicyError(
                f"the policy pack {ref.id} {ref.version} is older than {last['version']}, which was in force here",
                code="policy.older",
                hint="Give what shall be in force a higher version. Nothing is judged by an older pack.",
            )
        return last == {"version": ref.version, "digest": ref.digest}

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            with self._path.open("rb") as stream:
                found = json.loads(stream.read(_MOST))["packs"]
            packs = {str(key): {"version": one["version"], "digest": one["digest"]} for key, one in found.items()}
            for one in packs.values():
                ordered(one["version"])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise PolicyError(
                f"{FILE} in the data folder cannot be read, so nobody can tell which policy was in force last",
                code="policy.memory",
                hint="Look at it, and remove it if the pack in use is the newest: then the next one in force is noted.",
            ) from error
        return packs

    def _write(self, packs: dict[str, dict[str, str]]) -> None:
        try:
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=f".{FILE}.")
            try:
                with os.fdopen(handle, "wb") as stream:
                    stream.write(json.dumps({"packs": packs}, indent=1, sort_keys=True).encode())
                    stream.flush()
                    os.fsync(stream.fileno())
                os.replace(name, self._path)
            except BaseException:
                os.unlink(name)
                raise
        except OSError as error:
            raise self._failed(error) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._folder / f"{FILE}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._failed(error) from error
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @staticmethod
    def _failed(error: OSError) -> PolicyError:
        return PolicyError(
            f"which policy is in force cannot be noted in the data folder: {error.strerror}",
            code="policy.memory",
            hint="The data folder must be writable.",
        )
