"""The newest version of each policy pack that was ever in force here, in a small file of the data folder.

Unlike a cache it is believed: a damaged file means that nothing is judged, since an older pack might be put in force.
"""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path

from ..errors import PolicyError
from ..safety.decision import PolicyRef
from .kept_file import KeptFile

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
        self._file = KeptFile(folder, FILE)

    def take(self, ref: PolicyRef) -> None:
        """Remembers that ``ref`` is in force. Raises PolicyError: ``policy.older`` when a newer version of the same id
        was in force already, ``policy.memory`` when that cannot be told or kept."""
        try:
            mine = ordered(ref.version)
        except ValueError as error:
            raise PolicyError(f"the policy pack {ref.id}: {error}") from error
        if self._checked(self._read(), ref, mine):
            return
        with ExitStack() as alone:
            try:
                alone.enter_context(self._file.alone())
            except OSError as error:
                raise self._failed(error) from error
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
            found = json.loads(self._file.read(_MOST))["packs"]
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
            self._file.write(json.dumps({"packs": packs}, indent=1, sort_keys=True).encode())
        except OSError as error:
            raise self._failed(error) from error

    @staticmethod
    def _failed(error: OSError) -> PolicyError:
        return PolicyError(
            f"which policy is in force cannot be noted in the data folder: {error.strerror}",
            code="policy.memory",
            hint="The data folder must be writable.",
        )
