"""The process that children are forked from: decoders loaded, nothing opened, one thread.

`python -m filigrana.provenance.isolation.zygote DESCRIPTOR`: takes its configuration, then jobs, over that socket; each
job comes with the descriptor on which its child talks to the host.
"""

from __future__ import annotations

import array
import ctypes
import gc
import importlib
import importlib.util
import os
import platform
import select
import signal
import socket
import sys
import sysconfig
import time
import traceback
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

# Threads of a library would not survive the fork.
os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1")

from ...errors import FiligranaError
from ..finding import Finding
from ..labelling.visible import plate
from ..scratch import ScratchFolder
from ..verify import Asked, Verifier, unreadable
from . import channel, clock
from .confine import Bounds, confine
from .wire import AskingResolver, Config, finding_out

_PR_SET_PDEATHSIG = 1


def verifier(config: Config, resolvers: list[AskingResolver]) -> Verifier:
    from ..media import Limits
    from ..trust import TrustList, TrustLists
    from ..watermark.registry import all_codecs, second_layers, sound_codec

    trust = TrustLists(
        tuple(TrustList(level, pem) for level, pem in config.claim),  # type: ignore[arg-type]
        tuple(TrustList(level, pem) for level, pem in config.tsa),  # type: ignore[arg-type]
    )
    keys = [None] if config.key is None else [config.key, None]
    return Verifier(
        trust,
        [one for key in keys for one in all_codecs(key)],
        resolvers,
        Limits(config.pixels, config.bytes, config.seconds),
        [sound_codec(key) for key in keys],
        second_layers(list(config.layers), config.key),
        config.key,
    )


def warm_up(config: Config) -> None:
    """Runs every decoder's first time here, on a marked picture of our own, so that no child pays for it."""
    import cv2
    import numpy as np
    from PIL import Image

    from ..identity import AssetId
    from ..media import Frame
    from ..watermark.registry import codec

    cv2.setNumThreads(1)
    Image.preinit()
    # Pillow loads these only when it meets such a file, and a confined child may open no file of a library any more.
    for kind in ("WebP", "Avif", "Tiff", "Mpo"):
        importlib.import_module(f"PIL.{kind}ImagePlugin")
    noise = np.random.default_rng(1).normal(128, 40, (256, 256, 3))
    marked = next(iter(codec(key=config.key).embed([Frame(np.clip(noise, 0, 255).astype(np.uint8))], AssetId(1))))
    with ScratchFolder() as folder:
        path = folder / "warm.jpg"
        Image.fromarray(marked.rgb).save(path, "JPEG", quality=95)
        verifier(config, []).verify(path, Asked(facts=True))
    plate(("AI",), 12)  # a font that is asked for later could not be opened any more


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the host decides when it is over
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children: the system buries them
    try:
        start = channel.receive(control.fileno())
        config = Config.from_json(start["config"])
        warm_up(config)
        gc.collect()
        gc.freeze()  # the collector would write to every page that the children share
        channel.send(control.fileno(), {"ready": len(os.listdir("/proc/self/task")) if _linux() else 1})
        while True:
            if "scipy.signal" not in sys.modules and not select.select([control], [], [], 0.05)[0]:
                import scipy.signal  # noqa: F401  slow to load, and wanted for sound alone: in idle time
            job, descriptors = _receive_job(control)
            _start(control, config, job, descriptors)
    except (channel.ChannelError, BrokenPipeError):
        return  # the host is gone


def _linux() -> bool:
    return platform.system() == "Linux"


def _receive_job(control: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """One byte with the child's descriptor, then the message."""
    _, ancillary, _, _ = control.recvmsg(1, socket.CMSG_SPACE(4))
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    if not descriptors:
        raise channel.ChannelError("the host is gone")
    return channel.receive(control.fileno()), list(descriptors)


def _start(control: socket.socket, config: Config, job: dict[str, Any], descriptors: list[int]) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            control.close()
            _child(config, job, descriptors[0])
            code = 0
        except BaseException:  # noqa: BLE001  a child never returns into the zygote's loop
            if os.environ.get("FILIGRANA_ISOLATION_TRACE"):
                traceback.print_exc()
        finally:
            os._exit(code)
    for descriptor in descriptors:
        os.close(descriptor)
    handle = -1
    if hasattr(os, "pidfd_open"):
        try:
            handle = os.pidfd_open(child)
        except OSError:
            handle = -1  # it has ended already
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [handle]))] if handle >= 0 else []
    control.sendmsg([b"p"], rights)
    channel.send(control.fileno(), {"pid": child})
    if handle >= 0:
        os.close(handle)


def _child(config: Config, job: dict[str, Any], talk: int) -> None:
    if _linux():
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    path, folder = Path(job["path"]), Path(job["folder"])
    sidecar = None if job["sidecar"] is None else Path(job["sidecar"])
    at = None if job["at"] is None else datetime.fromisoformat(job["at"])
    os.environ["TMPDIR"] = str(folder)
    asked_clock = clock.set_clock(at) if at is not None else None
    confine(
        Bounds(**job["bounds"]), [p for p in (path, sidecar, *_libraries()) if p is not None and p.exists()], folder
    )

    def ask(question: dict[str, Any]) -> Any:
        channel.send(talk, question)
        return channel.receive(talk)

    resolvers = [AskingResolver(ask, which, name) for which, name in enumerate(job["resolvers"])]
    finding: Finding
    try:
        asked = Asked(at, sidecar, job["crjson"], job["thumbnail"], job["found_beside"], job.get("facts", False))
        finding = verifier(config, resolvers).verify(path, asked)
        if asked_clock is not None and not asked_clock() and finding.finding not in ("unmarked", "unreadable"):
            finding = unreadable(path, "the time of validation could not be set for this file", 0.0)
    except FiligranaError as error:
        finding = unreadable(path, error.message, 0.0)
    except MemoryError:
        finding = unreadable(path, "reading it takes more memory than is allowed", 0.0)
    channel.send(talk, {"finding": finding_out(finding) | {"cpu_seconds": time.process_time()}})


def _libraries() -> list[Path]:
    """What an import in the child may still read: the interpreter's modules, installed packages, and this one."""
    here = Path(__file__).resolve().parent.parent
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    others = [here, here.parent / "errors.py", Path("/usr/lib"), Path("/lib"), Path("/dev/urandom")]
    return [*(Path(p) for p in paths), *_elsewhere(), *others]


@cache
def _elsewhere() -> list[Path]:
    """The folders of installed packages outside of these: an environment may build upon another one."""
    packages = {Path(file).resolve().parent for name in _LATE if (file := _file_of(name)) is not None}
    # Shared libraries of a package lie in a folder beside it.
    return sorted({p.parent if p.parent.name in ("site-packages", "dist-packages") else p for p in packages})


_LATE = ("PIL", "av", "cv2", "c2pa", "numpy", "scipy", "pillow_heif", "pi_heif")
"""What imports more of itself when it meets a file that wants it."""


def _file_of(name: str) -> str | None:
    found = importlib.util.find_spec(name)
    return None if found is None else found.origin


if __name__ == "__main__":
    main()
