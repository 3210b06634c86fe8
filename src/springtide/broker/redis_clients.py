"""From the broker's URL to client objects: a single server, a Cluster's node, or a master that Sentinels name.

    redis://user:password@host:6379/0           one server, or any node of a Cluster
    rediss://host:6379?ssl_ca_certs=/path.pem   the same over TLS; the certificate is checked
    unix:///run/valkey.sock                     the same over a Unix socket
    redis+sentinel://user:password@host:26379,host:26379/service/0   the master of `service`; rediss+sentinel:// for TLS

Options follow after `?` by the client library's names; `sentinel_username` and `sentinel_password` are the Sentinels'
own. Promises: what may be shown of a URL (`shown`) never holds a secret. Refuses what it cannot read, as ConfigError
without the part in question, which may be secret.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from redis.asyncio import ConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import ExponentialWithJitterBackoff

from springtide.domain.errors import ConfigError

CONNECT_TIMEOUT_S = 2.0  # a healthy server answers in milliseconds, also in another zone
READ_TIMEOUT_S = 3.0  # a script of 100 items takes under 3 ms of the server
RETRIES = 3  # below half a second together: rides over a broken connection, not over a restarting server
SENTINEL_PORT = 26379
_SENTINEL_SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}


class Clients(NamedTuple):
    """Two clients, since a call that waits must not be cut off, and all that has to be closed."""

    calls: Any  # the library's own stubs leave too much unknown for strict checking; the border is here
    waits: Any
    owned: tuple[Any, ...]

    async def connect(self) -> Any:
        """A connection for calls that belongs to whoever takes it."""
        connection = self.calls.connection_pool.make_connection()
        try:
            await connection.connect()
        except BaseException:
            connection._close()
            raise
        return connection


def single(url: str) -> Clients:
    """Clients of one server, or of the master that the Sentinels name now and after every failover."""
    try:
        if is_sentinel(url):
            return _by_sentinel(url)
        calls = ConnectionPool.from_url(url, **_limits(READ_TIMEOUT_S, RETRIES))
        waits = ConnectionPool.from_url(url, **_limits(None, 0))
    except (ValueError, TypeError):
        raise ConfigError(
            "broker.url is not a valid redis://, rediss://, unix:// or redis+sentinel://host,host/service URL"
        ) from None
    clients = (Redis.from_pool(calls), Redis.from_pool(waits))
    return Clients(*clients, owned=clients)


def cluster(url: str) -> Clients:
    """Clients of the Cluster that the server at `url` is a node of."""
    clients = (
        RedisCluster.from_url(url, **_limits(READ_TIMEOUT_S, RETRIES)),
        RedisCluster.from_url(url, **_limits(None, RETRIES)),
    )
    return Clients(*clients, owned=clients)


def is_sentinel(url: str) -> bool:
    return url.partition("://")[0] in _SENTINEL_SCHEMES


def shown(url: str) -> str:
    """Host and port, or the socket's path: what may be shown of a URL."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return parts.path
        if is_sentinel(url):
            hosts = ",".join(f"{host}:{port}" for host, port in _sentinels(parts.netloc))
            return f"{parts.path.split('/')[1]} (by Sentinels {hosts})"
        return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
    except (ValueError, IndexError):
        return "an address that cannot be read"


def _limits(read_timeout_s: float | None, retries: int) -> dict[str, Any]:
    return {
        "protocol": 2,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": read_timeout_s,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.25), retries),
    }


def _by_sentinel(url: str) -> Clients:
    parts = urlsplit(url)
    secret, _, hosts = parts.netloc.rpartition("@")
    _, service, *rest = parts.path.split("/")
    if not service or len(rest) > 1:
        raise ValueError("no service")
    # The library reads everything but the hosts: user, password, database number, TLS options.
    plain = (_SENTINEL_SCHEMES[parts.scheme], f"{secret}@localhost" if secret else "localhost", "/".join(["", *rest]))
    options: dict[str, Any] = dict(parse_url(urlunsplit((*plain, parts.query, ""))))
    is_tls = parts.scheme.startswith("rediss")
    for needless in ("host", "port", "connection_class"):
        options.pop(needless, None)
    own = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    tls = {name: value for name, value in options.items() if name.startswith("ssl")} | ({"ssl": True} if is_tls else {})
    limits = _limits(READ_TIMEOUT_S, 0)  # the next Sentinel is the retry
    sentinel = Sentinel(_sentinels(hosts), sentinel_kwargs={**own, **tls, **limits})
    options |= tls
    calls, waits = (
        Redis.from_pool(SentinelConnectionPool(unquote(service), sentinel, **{**options, **_limits(read_s, retries)}))
        for read_s, retries in ((READ_TIMEOUT_S, RETRIES), (None, 0))
    )
    return Clients(calls, waits, (calls, waits, sentinel))


def _sentinels(hosts: str) -> list[tuple[str, int]]:
    parsed = [urlsplit(f"//{host}") for host in hosts.rpartition("@")[2].split(",")]
    found = [(each.hostname or "", each.port or SENTINEL_PORT) for each in parsed]
    if not all(host for host, _ in found):
        raise ValueError("no host")
    return found
