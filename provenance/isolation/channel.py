"""Messages between host, zygote and child: JSON behind a length of four bytes, over a stream socket's descriptor.

Only read(2) and write(2) are used on the child's side, since sockets are out of its reach by then.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from typing import Any

LARGEST = 96 << 20
"""A manifest store of 64 MiB in base64 fits; what is larger ends the conversation."""


class ChannelError(Exception):
    """The other side is gone, too slow, or does not keep to the form."""


def send(descriptor: int, value: Any, until: float | None = None) -> None:
    """Writes one message; ``until``: a monotonic time, for a descriptor that does not block (one that does would wait
    for whoever does not read). Raises ChannelError where nobody reads any more, and TimeoutError."""
    data = json.dumps(value, allow_nan=False).encode()
    if len(data) > LARGEST:
        raise ChannelError("a message is too large")
    view = memoryview(struct.pack(">I", len(data)) + data)
    while view:
        if until is not None:
            remaining = until - time.monotonic()
            if remaining <= 0 or not select.select([], [descriptor], [], remaining)[1]:
                raise TimeoutError
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            continue
        except OSError as error:
            raise ChannelError("the other side is gone") from error


def receive(descriptor: int, until: float | None = None, largest: int = LARGEST) -> Any:
    """Reads one message; ``until``: a monotonic time. Raises ChannelError, TimeoutError."""
    head = _exactly(descriptor, 4, until)
    (length,) = struct.unpack(">I", head)
    if length > largest:
        raise ChannelError("a message is too large")
    try:
        return json.loads(_exactly(descriptor, length, until))
    except (ValueError, RecursionError) as error:
        raise ChannelError("a message is no JSON") from error


def _exactly(descriptor: int, count: int, until: float | None) -> bytes:
    parts, left = [], count
    while left:
        if until is not None:
            remaining = until - time.monotonic()
            if remaining <= 0 or not select.select([descriptor], [], [], remaining)[0]:
                raise TimeoutError
        try:
            block = os.read(descriptor, min(left, 1 << 20))
        except BlockingIOError:
            continue
        except OSError as error:
            raise ChannelError("the other side is gone") from error
        if not block:
            raise ChannelError("the other side is gone")
        parts.append(block)
        left -= len(block)
    return b"".join(parts)
