"""The gateway's own socket: listened on before anything else is begun, so that who has the port is told at once."""

from __future__ import annotations

import errno
import socket

from springtide.domain.errors import ConfigError


def listen(host: str, port: int) -> socket.socket:
    """A socket that is listened on. Raises ConfigError that says what to write instead."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except socket.gaierror as error:
        listener.close()
        raise ConfigError(
            f"server.host: {host!r} cannot be resolved: {error.strerror}; name an address of this machine, such as "
            f"127.0.0.1 (only from here) or 0.0.0.0 (from everywhere)"
        ) from error
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigError(
                f"server.host: {host!r} is not an address of this machine; 127.0.0.1 serves only from here, 0.0.0.0 "
                f"from everywhere"
            ) from error
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}. Another server may be there; choose a free port with "
            f"--port N or [server] port in springtide.toml (0 picks one)"
        ) from error
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    """Where it answers, as this machine would ask."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://{host}:{port}"
