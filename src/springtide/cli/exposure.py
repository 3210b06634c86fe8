"""Whom a gateway serves: nobody serves the network by mistake."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from springtide.cli import build
from springtide.domain.errors import ConfigError

if TYPE_CHECKING:
    from springtide.config import Config
    from springtide.domain.clock import Clock
    from springtide.gateway.keyring import Keyring
    from springtide.gateway.metering import Metering
    from springtide.ledger.sql import SqlLedger

log = logging.getLogger(__name__)


def keyring(ledger: SqlLedger, clock: Clock) -> Keyring:
    """All keys of the installation, not started."""
    from springtide.gateway.keyring import Keyring

    return Keyring(ledger.keys, clock)


def metering(config: Config, ledger: SqlLedger, clock: Clock) -> Metering:
    """All quotas, not started."""
    from springtide.gateway.metering import Metering

    return Metering(ledger.usage, build.quotas(config), clock)


def check(config: Config, keys: Keyring) -> None:
    """Raises ConfigError where a key is asked for and there is none."""
    server = config.server
    if build.keyless(config).value == "refused" and not keys.has_valid_key():
        why = (
            "server.auth is 'keys'" if server.is_on_loopback else f"server.host {server.host} can be reached by others"
        )
        raise ConfigError(
            f"{why}, and there is no valid API key. Make the first with `springtide keys create default`, under the "
            "same configuration; or let a proxy that knows its callers name the tenant ([server] tenant_header); or "
            "set [server] auth = 'none' where everybody who can reach it may use it (docs/tenants.md)."
        )
    if server.auth == "none" and not server.is_on_loopback:
        log.warning(
            "server.auth is 'none': everybody who can reach %s:%d may use this server, and see all jobs and files of "
            "the tenant `default`",
            server.host,
            server.port,
        )
