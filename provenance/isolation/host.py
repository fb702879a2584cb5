"""The host's side: starts the zygote, hands out files, answers questions, and ends what takes too long."""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...errors import ProvenanceError
from ..asked import Asked
from ..finding import Evidence, Finding
from ..resolver_port import Resolver
from ..scratch import ScratchFolder
from . import channel
from .confine import Bounds
from .wire import Config, answer, finding_in

_START_SECONDS = 60.0
_QUESTIONS = 2000
"""A child asks a handful; one that asks without end is not verifying."""
_INHERITED = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT",
              "OPENBLAS_CORETYPE", "FILIGRANA_ISOLATION_TRACE")  # fmt: skip


@dataclass
class _Zygote:
    process: subprocess.Popen[bytes]
    control: socket.socket
    lock: threading.Lock = field(default_factory=threading.Lock)


class IsolatedVerifier:
    """Verifies files in confined children. Thread-safe; ``workers`` at once, others wait. `close` ends it; so does
    the end of the program."""

    def __init__(self, config: Config, bounds: Bounds | None = None, workers: int = 2) -> None:
        self._config, self._bounds = config, bounds or Bounds()
        self._free = threading.BoundedSemaphore(workers)
        self._running: list[_Zygote] = []
        weakref.finalize(self, _end, self._running)
        self._zygote: _Zygote | None = None
        self._starting = threading.Lock()

    def start(self) -> None:
        """Starts the zygote without waiting for it, so that it loads while other work is done."""
        with self._starting:
            if self._zygote is not None and self._zygote.process.poll() is not None:
                _end(self._running)
                self._zygote = None
            if self._zygote is None:
                self._zygote = self._begin()
                self._running.append(self._zygote)

    def _begin(self) -> _Zygote:
        ours, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        with theirs:
            try:
                process = subprocess.Popen(
                    # -P: `-m` would look for modules in the folder that one stands in, which may be a stranger's.
                    [sys.executable, "-P", "-m", "filigrana.provenance.isolation.zygote", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    # A child that was taken over must not write to a person's terminal.
                    stderr=None if "FILIGRANA_ISOLATION_TRACE" in environment else subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise _not_started(error.strerror or "") from error
        zygote = _Zygote(process, ours)
        zygote.lock.acquire()
        threading.Thread(target=self._wait_until_ready, args=(zygote,), daemon=True).start()
        return zygote

    def _wait_until_ready(self, zygote: _Zygote) -> None:
        try:
            channel.send(zygote.control.fileno(), {"config": self._config.to_json()})
            channel.receive(zygote.control.fileno(), time.monotonic() + _START_SECONDS)
        except (channel.ChannelError, TimeoutError, OSError, ValueError):  # ValueError: its socket was closed meanwhile
            zygote.process.kill()
        finally:
            zygote.lock.release()

    def verify(
        self,
        path: Path,
        asked: Asked | None = None,
        resolvers: Sequence[Resolver] = (),
        *,
        seconds: float | None = None,
    ) -> Finding:
        """The finding for one file. Whatever its bytes do to the child, the answer is a finding. ``resolvers`` are
        asked here, from the calling thread. ``seconds``: less time than the bounds allow. Raises ProvenanceError where
        no child can be started at all."""
        asked = asked or Asked()
        most = min(self._bounds.wall, seconds or self._bounds.wall)
        bounds = replace(self._bounds, wall=most, cpu=min(self._bounds.cpu, most))
        with self._free:
            started = time.perf_counter()
            with ScratchFolder() as folder:
                return self._in_child(path, asked, list(resolvers), bounds, folder, started)

    def _in_child(
        self, path: Path, asked: Asked, resolvers: list[Resolver], bounds: Bounds, folder: Path, started: float
    ) -> Finding:
        ours, theirs = socket.socketpair()
        child: _Child | None = None
        try:
            with theirs:
                child = self._fork(path, asked, [r.name for r in resolvers], bounds, folder, theirs)
            value = _converse(ours.fileno(), resolvers, time.monotonic() + bounds.wall)
            return finding_in(value, path, time.perf_counter() - started, asked.at)
        except TimeoutError:
            reason = f"reading it takes longer than the {bounds.wall:.0f} s that are allowed"
        except (channel.ChannelError, ValueError):
            reason = "the reader broke down on it: it takes more memory or time than is allowed, or is damaged"
        finally:
            if child is not None:
                child.end()
            ours.close()
        evidence = (Evidence("media", "failed", reason),)
        seconds = time.perf_counter() - started
        return Finding(str(path), "unreadable", None, "none", None, evidence, seconds, at=asked.at)

    def _fork(
        self, path: Path, asked: Asked, names: list[str], bounds: Bounds, folder: Path, theirs: socket.socket
    ) -> _Child:
        job = {
            "path": os.path.realpath(path),
            "folder": str(folder),
            "sidecar": None if asked.sidecar is None else os.path.realpath(asked.sidecar),
            "at": None if asked.at is None else asked.at.isoformat(),
            "crjson": asked.crjson,
            "thumbnail": asked.thumbnail,
            "found_beside": asked.found_beside,
            "facts": asked.facts,
            "bounds": asdict(bounds),
            "resolvers": names,
        }
        for attempt in range(2):
            self.start()
            zygote = self._zygote
            assert zygote is not None  # noqa: S101
            with zygote.lock:
                try:
                    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))]
                    zygote.control.sendmsg([b"j"], rights)
                    channel.send(zygote.control.fileno(), job)
                    return _receive_child(zygote.control)
                except (channel.ChannelError, TimeoutError, OSError):
                    zygote.process.kill()
                    zygote.process.wait()
                    if attempt:
                        raise _not_started("it ended") from None
        raise _not_started("it ended")

    def close(self) -> None:
        with self._starting:
            self._zygote = None
            _end(self._running)

    def __enter__(self) -> IsolatedVerifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end(running: list[_Zygote]) -> None:
    while running:
        zygote = running.pop()
        zygote.control.close()
        zygote.process.kill()
        zygote.process.wait()


def _converse(talk: int, resolvers: list[Resolver], until: float) -> Any:
    """Answers questions until the finding comes. A child that asks and does not read the answer is not waited for."""
    os.set_blocking(talk, False)
    for _ in range(_QUESTIONS):
        message = channel.receive(talk, until)
        if not isinstance(message, dict):
            raise ValueError("no message")
        if "finding" in message:
            return message["finding"]
        channel.send(talk, answer(resolvers, message), until)
    raise ValueError("too many questions")


@dataclass(frozen=True)
class _Child:
    """``handle``: a process descriptor, so that no other process with the same number is ever hit; -1 without one."""

    pid: int
    handle: int

    def end(self) -> None:
        with contextlib.suppress(OSError):
            if self.handle >= 0:
                signal.pidfd_send_signal(self.handle, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)
        if self.handle >= 0:
            os.close(self.handle)


def _receive_child(control: socket.socket) -> _Child:
    control.settimeout(_START_SECONDS)
    data, ancillary, _, _ = control.recvmsg(1, socket.CMSG_SPACE(4))
    control.settimeout(None)
    if not data:
        raise channel.ChannelError("the zygote is gone")
    handles = array.array("i")
    for level, kind, rights in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            handles.frombytes(rights[: len(rights) - len(rights) % handles.itemsize])
    said = channel.receive(control.fileno(), time.monotonic() + _START_SECONDS)
    return _Child(int(said["pid"]), handles[0] if handles else -1)


def _not_started(why: str) -> ProvenanceError:
    return ProvenanceError(
        f"the confined reader cannot be started{f': {why}' if why else ''}",
        code="provenance.isolation",
        hint="Nothing is read without it. Run `filigrana doctor`.",
    )
