"""Which addresses belong to the public internet. Not as Python has it alone: its tables changed between patch releases
(up to 3.11.9 and 3.12.3 nearly all of 192.0.0.0/24 was public), and clouds answer at addresses that look public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

Address = IPv4Address | IPv6Address
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_UNICAST = ip_network("2000::/3")
"""All that is assigned of IPv6: https://www.iana.org/assignments/ipv6-address-space"""
_SPECIAL = tuple(
    ip_network(text)
    for text in (
        "192.0.0.0/24",  # IETF protocol assignments; 192.0.0.192 is a cloud's metadata
        "192.88.99.0/24",  # 6to4 relays, given up
        "168.63.129.16/32",  # Azure's own services, from every machine there
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",
        "3fff::/20",  # documentation
    )
)
"""https://www.iana.org/assignments/iana-ipv4-special-registry, and -ipv6-, where Python's own table may lack them."""


def is_public(address: Address) -> bool:
    """Whether the address belongs to the public internet, also where it wraps another one."""
    if isinstance(address, IPv6Address):
        if any(address in network for network in _NAT64):
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address.sixtofour is not None:
            return is_public(address.sixtofour)
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        # ISATAP's interface ids lead to IPv4 networks.
        if (int(address) >> 32) & 0xFDFFFFFF == 0x00005EFE or address not in _UNICAST or address.scope_id is not None:
            return False
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
        or address.is_private
        or address.is_unspecified
        or any(address in network for network in _SPECIAL)
    )
