"""Which addresses a caller's URL may lead to: public ones, and what the configuration allows by name or network.

Promises: whatever is not ordinary public unicast is refused, also where it is wrapped (an IPv4 address inside an IPv6
one: both the wrapping and what is in it must be allowed). What lies on the link itself, where clouds keep the
credentials of their machines, is opened by no name, only by a network that holds it. Refuses an entry that is none.

Source: IANA's registries of special-purpose addresses (RFC 6890) as of 2026, and the clouds' own manuals.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import msgspec

from springtide.domain.errors import ConfigError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")

_NOT_PUBLIC_4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this host itself"),
        ("10.0.0.0/8", "a private network"),
        ("100.64.0.0/10", "a provider's shared network"),  # Alibaba Cloud's credentials are at 100.100.100.200
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "the host below a virtual machine"),  # Azure; public by its number alone
        ("169.254.0.0/16", "the link itself, where clouds keep credentials"),
        ("172.16.0.0/12", "a private network"),
        ("192.0.0.0/24", "reserved for protocols"),  # Oracle Cloud's credentials are at 192.0.0.192
        ("192.0.2.0/24", "for documentation"),
        ("192.31.196.0/24", "a sink for reverse look-ups"),
        ("192.52.193.0/24", "reserved for multicast tunnels"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "a private network"),
        ("192.175.48.0/24", "a sink for reverse look-ups"),
        ("198.18.0.0/15", "for measurements"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_PUBLIC_6 = IPv6Network("2000::/3")  # all that is handed out; what is beyond is special or nobody's
_NOT_PUBLIC_6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "an IPv4 address in disguise"),
        ("64:ff9b::/96", "an IPv4 address behind NAT64"),
        ("64:ff9b:1::/48", "an IPv4 address behind NAT64"),
        ("2001::/23", "reserved for protocols and tunnels"),  # Teredo is in it
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "an IPv4 address behind 6to4"),
        ("3fff::/20", "for documentation"),
        ("fc00::/7", "a private network"),  # AWS keeps credentials at fd00:ec2::254
        ("fe80::/10", "the link itself"),
        ("ff00::/8", "multicast"),
    )
)
_NEVER_BY_NAME: tuple[Network, ...] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "224.0.0.0/3",
        "::/128",
        "fd00:ec2::/32",
        "fd20:ce::254/128",  # Google Cloud
        "fe80::/10",
        "ff00::/8",
    )
)


class Allowed(msgspec.Struct, frozen=True):
    """What is open beside the public: networks, names, and the names below a name (`*.hooks.internal`)."""

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Sequence[str]) -> Allowed:
        """From the configuration: `10.0.0.0/8`, `192.168.1.7`, `hooks.internal`, `*.internal`. Raises ConfigError."""
        networks: list[Network] = []
        names: set[str] = set()
        for entry in entries:
            text = entry.strip().lower().rstrip(".")
            try:
                networks.append(ipaddress.ip_network(text.strip("[]")))
                continue
            except ValueError as error:
                is_name = _NAME.fullmatch(text) and not text.rpartition(".")[2].isdigit()
                if not is_name:
                    raise ConfigError(
                        f"egress.allow: {entry!r} is no network (10.0.0.0/8), address or name (hooks.internal): {error}"
                    ) from error
            names.add(text)
        return cls(tuple(networks), frozenset(names))

    def has_name(self, host: str) -> bool:
        """Whether `host` (lower case, no dot at its end) is open by its name."""
        parents = (host[at:] for at, sign in enumerate(host) if sign == ".")
        return host in self.names or any(f"*{parent}" in self.names for parent in parents)

    def has_address(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def refusal(address: Address, allowed: Allowed, *, by_name: bool = False) -> str | None:
    """Why `address` may not be reached; None where it may. by_name: the host it belongs to is open by its name."""
    if getattr(address, "scope_id", None):
        return "an address of one link"
    for each in (address, *_within(address)):
        reason = _not_public(each)
        if reason is None or allowed.has_address(each):
            continue
        if by_name and not any(each in network for network in _NEVER_BY_NAME):
            continue
        return reason
    return None


def _not_public(address: Address) -> str | None:
    if isinstance(address, IPv4Address):
        return next((what for network, what in _NOT_PUBLIC_4 if address in network), None)
    reason = next((what for network, what in _NOT_PUBLIC_6 if address in network), None)
    return reason if reason or address in _PUBLIC_6 else "not public"


def _within(address: Address) -> list[Address]:
    """IPv4 addresses that an IPv6 one stands for."""
    if isinstance(address, IPv4Address):
        return []
    number = int(address)
    last = IPv4Address(number & 0xFFFF_FFFF)
    if address.ipv4_mapped or number >> 32 == 0 or address in IPv6Network("64:ff9b::/96"):
        return [last]
    if address in IPv6Network("64:ff9b:1::/48"):
        return [last]  # as is usual; the prefix may also be shorter, but then the network is the operator's own
    if address.sixtofour:
        return [address.sixtofour]
    return list(address.teredo) if address.teredo else []
