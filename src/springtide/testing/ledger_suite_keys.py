"""Ledger suite, part four: API keys. A ledger under test has them as its attribute `keys`."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec

from springtide.domain.keys import ALL_SCOPES, ApiKey, Scope
from springtide.ledger.keys import digest_of, make_key
from springtide.ledger.sql import SqlLedger
from springtide.testing.ledger_cases import ACME, GLOBEX, NOW_S, Reopen


def api_key(prefix: str, **changed: Any) -> ApiKey:
    fields: dict[str, Any] = {
        "tenant": ACME,
        "scopes": frozenset({Scope.READ}),
        "digest": "d" * 64,
        "created_at_s": NOW_S,
    }
    return ApiKey(prefix=prefix, **(fields | changed))


class KeysContract:
    """Keys made, listed, revoked and used."""

    async def test_a_key_comes_back_as_it_was_put_after_a_restart(self, ledger: SqlLedger, reopen: Reopen) -> None:
        first = api_key("aaaaaaaa", name="猫 of team", scopes=ALL_SCOPES, expires_at_s=NOW_S + 1.5)
        second = api_key("bbbbbbbb", tenant=GLOBEX, created_at_s=NOW_S + 1)
        assert [await ledger.keys.put_key(key) for key in (second, first)] == [True, True]
        again = cast("SqlLedger", await reopen())
        assert await again.keys.keys() == [first, second]
        assert await again.keys.keys(GLOBEX) == [second]

    async def test_a_prefix_is_given_once(self, ledger: SqlLedger) -> None:
        mine = api_key("aaaaaaaa")
        assert await ledger.keys.put_key(mine)
        assert not await ledger.keys.put_key(api_key("aaaaaaaa", tenant=GLOBEX))
        assert await ledger.keys.keys() == [mine]

    async def test_a_revocation_stays_as_it_was_first(self, ledger: SqlLedger) -> None:
        key = api_key("aaaaaaaa")
        await ledger.keys.put_key(key)
        revoked = msgspec.structs.replace(key, revoked_at_s=NOW_S + 1)
        assert await ledger.keys.revoke_key("aaaaaaaa", NOW_S + 1) == revoked
        assert await ledger.keys.revoke_key("aaaaaaaa", NOW_S + 2) == revoked
        assert await ledger.keys.revoke_key("bbbbbbbb", NOW_S) is None

    async def test_every_change_shows_and_nothing_else_does(self, ledger: SqlLedger) -> None:
        seen = [await ledger.keys.changes()]
        await ledger.keys.put_key(api_key("aaaaaaaa"))
        seen.append(await ledger.keys.changes())
        await ledger.keys.revoke_key("aaaaaaaa", NOW_S)
        seen.append(await ledger.keys.changes())
        assert seen == sorted(set(seen))
        await ledger.keys.revoke_key("aaaaaaaa", NOW_S)
        await ledger.keys.put_key(api_key("aaaaaaaa"))
        await ledger.keys.note_used({"aaaaaaaa": NOW_S})
        assert await ledger.keys.changes() == seen[-1]

    async def test_when_a_key_was_used_never_goes_back(self, ledger: SqlLedger) -> None:
        await ledger.keys.put_key(api_key("aaaaaaaa"))
        for at_s in (NOW_S + 5, NOW_S + 3):
            await ledger.keys.note_used({"aaaaaaaa": at_s, "nobodys0": at_s})
        assert [key.last_used_at_s for key in await ledger.keys.keys()] == [NOW_S + 5]

    async def test_keys_made_at_once_are_all_there_and_only_their_digests(self, ledger: SqlLedger) -> None:
        made = await asyncio.gather(
            *(make_key(ledger.keys, ACME, scopes={Scope.SUBMIT}, now_s=NOW_S) for _ in range(8))
        )
        found = await ledger.keys.keys()
        assert {key.prefix for key in found} == {key.prefix for key, _ in made} and len(found) == 8
        for key, text in made:
            assert key in found and key.digest == digest_of(text) and text.startswith(f"st_{key.prefix}_")
        assert not any(text in repr(found) or text.rpartition("_")[2] in repr(found) for _, text in made)
