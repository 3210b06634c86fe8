"""What a load test may never exceed, and whom it may not touch.

A load test is a weapon with a safety catch: rate, count and time have hard ceilings that no option lifts, and a server
that is not this machine is refused unless its owner says so in as many words.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from springtide.domain.errors import ConfigError

MOST_RATE = 200.0  # jobs a second, at any moment: a tenth of what one gateway takes (docs/benchmarks.md)
MOST_JOBS = 20_000  # an hour of a fleet of a hundred workers; their records stay on the server
MOST_SECONDS = 3600.0  # of submitting
MOST_DRAIN_S = 1800.0  # of waiting for what was submitted
MOST_KILLS = 20
LEAST_RATE = 0.01
REMOTE_FLAG = "--remote-i-mean-it"


def check_load(rate: float, seconds: float, drain_s: float, kills: int = 0) -> None:
    """Raises ConfigError where a wish is beyond the ceilings; all of them at once."""
    wrong: list[str] = []
    if not LEAST_RATE <= rate <= MOST_RATE:
        wrong.append(f"--rate is {LEAST_RATE:g} to {MOST_RATE:g} jobs a second, not {rate:g}")
    if not 1.0 <= seconds <= MOST_SECONDS:
        wrong.append(f"--for is 1s to {MOST_SECONDS:g}s, not {seconds:g}s")
    if not 1.0 <= drain_s <= MOST_DRAIN_S:
        wrong.append(f"--drain is 1s to {MOST_DRAIN_S:g}s, not {drain_s:g}s")
    if rate * seconds > MOST_JOBS:
        wrong.append(f"{rate:g} jobs a second for {seconds:g} s are {rate * seconds:,.0f}; at most {MOST_JOBS:,}")
    if not 0 <= kills <= MOST_KILLS:
        wrong.append(f"--kills is 0 to {MOST_KILLS}, not {kills}")
    if wrong:
        raise ConfigError("; ".join(wrong))


def is_this_machine(url: str, own: Collection[str] = ()) -> bool:
    """Whether an address is loopback or one of `own`, which are this machine's. Names are not looked up: what a name
    stands for may be another machine a moment later."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or any(address == ipaddress.ip_address(one) for one in own)


def check_target(url: str, *, own: Collection[str] = (), remote: bool) -> None:
    """Raises ConfigError for a server elsewhere that nobody allowed outright."""
    if not remote and not is_this_machine(url, own):
        raise ConfigError(
            f"{url} is not this machine. A load test there takes real workers from real users, and its jobs stay on "
            f"record; if it is yours and this is meant, say {REMOTE_FLAG}"
        )
