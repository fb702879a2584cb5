"""How often one address may ask: a token bucket each, in a memory that does not grow."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

MOST = 20_000
"""Addresses that are remembered. The one that was idle longest is forgotten first: it has its full bucket back."""


_RATES = 256
"""Different rates at once; with more, buckets start full again."""


class Rate:
    """``per_minute`` tokens flow back a minute, and ``burst`` fit into a bucket. Not for several threads."""

    def __init__(
        self, per_minute: float, burst: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._flow = per_minute / 60
        self._burst = burst if burst is not None else max(5.0, per_minute / 2)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str, cost: float = 1.0) -> int | None:
        """None if it may; else the seconds until it may, at least 1."""
        now = self._clock()
        level, then = self._buckets.pop(who, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._flow)
        allowed = level >= cost
        self._buckets[who] = (level - cost if allowed else level, now)
        while len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        return None if allowed else max(1, math.ceil((cost - level) / self._flow))

    def __len__(self) -> int:
        return len(self._buckets)


class KeyRates:
    """The same for API keys, each with its own rate. For several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._rates: dict[float, Rate] = {}

    def take(self, key: str, per_minute: float) -> int | None:
        """As :meth:`Rate.take`."""
        with self._lock:
            if per_minute not in self._rates and len(self._rates) >= _RATES:
                self._rates.clear()
            return self._rates.setdefault(per_minute, Rate(per_minute, clock=self._clock)).take(key)


class Clients:
    """Who asks. Behind proxies that a setting names, what they say of the client; else whoever connected."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted: list[IPv4Network | IPv6Network] = [ip_network(text, strict=False) for text in trusted]

    def who(self, peer: str, forwarded: Iterable[str]) -> str:
        """``forwarded``: the values of X-Forwarded-For, in their order. The last address in it that is not a trusted
        proxy's is the client: what stands before it may be written by the client itself."""
        current = peer
        chain = [item.strip() for value in forwarded for item in value.split(",")]
        while chain and self._is_trusted(current):
            current = chain.pop()
        return _grouped(current) or _grouped(peer) or "?"

    def _is_trusted(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)


def _grouped(text: str) -> str | None:
    """Whoever has one IPv6 address has the 2^64 beside it too."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
