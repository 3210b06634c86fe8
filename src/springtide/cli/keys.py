"""`springtide keys`: API keys, straight on the ledger. No server need run, and one that does learns of it in a second.

Promises: a key is printed once, alone on standard output, so that `KEY=$(springtide keys create team)` holds just it;
everything else goes to standard error. Whoever may run this can read the ledger anyway.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from springtide.cli import build, folder
from springtide.cli.retry import seconds
from springtide.config import Config
from springtide.domain.errors import NotFound
from springtide.domain.keys import KEY_PREFIX, USUAL_SCOPES, ApiKey
from springtide.gateway.headers import iso8601
from springtide.gateway.key_views import KeyList, key_view, new_key_view, read_prefix, read_scopes, read_tenant
from springtide.ledger.keys import Keys, make_key

R = TypeVar("R")


def create_key(
    config: Config, tenant: str, *, scopes: Sequence[str], expires: str | None, name: str | None, as_json: bool
) -> None:
    """Make a key and print it."""
    owner = read_tenant(tenant)
    now_s = time.time()
    asked = read_scopes(list(scopes)) or USUAL_SCOPES
    expires_at_s = None if expires is None else now_s + seconds(expires)

    async def work(keys: Keys) -> tuple[ApiKey, str]:
        return await make_key(keys, owner, scopes=asked, now_s=now_s, name=name, expires_at_s=expires_at_s)

    key, text = _on_ledger(config, work)
    if as_json:
        print_json(new_key_view(key, text))
        return
    until = "" if key.expires_at_s is None else f", until {iso8601(key.expires_at_s)}"
    told = f"A key of tenant {tenant} for {' and '.join(sorted(asked))}{until}. It is shown only now:"
    print(told, file=sys.stderr)
    print(text)


def list_keys(config: Config, tenant: str | None, *, as_json: bool) -> None:
    """All keys, or those of one tenant."""
    owner = None if tenant is None else read_tenant(tenant)
    found = _on_ledger(config, lambda keys: keys.keys(owner))
    now_s = time.time()
    shown = [key_view(key, now_s) for key in found]
    if as_json:
        print_json(KeyList(data=shown))
        return
    table = Table(Column("key", no_wrap=True), "tenant", "name", "scopes", "state", "created", "expires", "last used")
    for one in shown:
        days = [(at or "")[:16].replace("T", " ") for at in (one.created_at, one.expires_at, one.last_used_at)]
        table.add_row(one.id, one.tenant, escape(one.name or ""), " ".join(one.scopes), one.state, *days)
    Console().print(table)


def revoke_key(config: Config, key: str, *, as_json: bool) -> None:
    """Let a key hold no longer."""
    prefix = read_prefix(key)
    now_s = time.time()
    found = _on_ledger(config, lambda keys: keys.revoke_key(prefix, now_s))
    if found is None:
        raise NotFound(f"there is no key {KEY_PREFIX}{prefix}; `springtide keys list` shows those there are")
    if as_json:
        print_json(key_view(found, now_s))
    else:
        print(f"{KEY_PREFIX}{prefix} of tenant {found.tenant} is revoked; running servers know within a second")


def print_json(view: Any) -> None:
    print(msgspec.json.format(msgspec.json.encode(view), indent=2).decode())


def _on_ledger(config: Config, work: Callable[[Keys], Awaitable[R]]) -> R:
    async def run() -> R:
        ledger = build.ledger(config)
        await ledger.start()
        try:
            return await work(ledger.keys)
        finally:
            await ledger.stop()

    folder.make(config.server.data_dir)
    return asyncio.run(run())
