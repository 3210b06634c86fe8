"""The guarded way out against real servers on loopback, most of them hostile."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import trustme
from web_servers import answering, broken, endless, nonsense, silent, trickling, web_server

from springtide.domain.errors import UrlFailed
from springtide.egress.client import Egress, EgressSettings

LOOPBACK = EgressSettings(allow=("127.0.0.1",))


@pytest.fixture
async def egress() -> AsyncGenerator[Egress]:
    made = Egress(LOOPBACK)
    yield made
    await made.stop()


async def fetch(egress: Egress, url: str, *, max_bytes: int = 1000, total_s: float = 20.0) -> bytes:
    async with egress.get(url, max_bytes=max_bytes, total_s=total_s) as incoming:
        return b"".join([chunk async for chunk in incoming.chunks])


async def refusal(egress: Egress, url: str, *, max_bytes: int = 1000, total_s: float = 20.0) -> UrlFailed:
    with pytest.raises(UrlFailed) as caught:
        await fetch(egress, url, max_bytes=max_bytes, total_s=total_s)
    return caught.value


async def test_a_file_is_fetched_with_its_query_and_without_compression(egress: Egress) -> None:
    async with web_server(answering(200, b"abc", {"Content-Type": "image/png"})) as server:
        assert await fetch(egress, server.url("/a%20b.png?X-Amz-Signature=a%2Fb&y=1")) == b"abc"
    [got] = server.got
    assert (got.method, got.path) == ("GET", "/a%20b.png?X-Amz-Signature=a%2Fb&y=1")
    assert got.headers["host"] == f"127.0.0.1:{server.port}"
    assert got.headers["accept-encoding"] == "identity" and "cookie" not in got.headers


async def test_without_leave_loopback_is_not_even_connected_to() -> None:
    async with web_server() as server:
        error = await refusal(Egress(), server.url())
    assert error.code == "url_refused" and "loopback" in error.message and server.got == []


async def test_a_redirect_is_not_followed(egress: Egress) -> None:
    async with web_server() as inner, web_server() as server:
        for status in (301, 302, 303, 307, 308):
            server.reply = answering(status, headers={"Location": inner.url("/secret?token=x")})
            error = await refusal(egress, server.url("/x?sig=hidden"))
            assert error.code == "url_bad_answer" and "not followed" in error.message
            assert "token" not in error.message and "hidden" not in error.message
        assert inner.got == []


async def test_a_name_that_changes_its_mind_does_not_move_the_connection() -> None:
    """DNS rebinding: public when it is looked at, private when it is used."""
    answers = iter([["127.0.0.1"], ["169.254.169.254"], ["10.0.0.1"]])
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    egress = Egress(LOOPBACK, resolve=resolve)
    async with web_server(answering(200, b"abc")) as server:
        assert await fetch(egress, server.url(host="rebinding.example")) == b"abc"
        assert asked == ["rebinding.example"]  # looked up once: the address judged is the address used
        assert server.got[0].headers["host"] == f"rebinding.example:{server.port}"
        assert (await refusal(egress, server.url(host="rebinding.example"))).code == "url_refused"
    await egress.stop()


async def test_the_certificate_must_be_that_of_the_name(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("hooks.example").configure_cert(context)

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    trusting = Egress(EgressSettings(allow=("127.0.0.1",), ca_file=tmp_path / "ca.pem"), resolve=resolve)
    distrusting = Egress(LOOPBACK, resolve=resolve)
    async with web_server(answering(200, b"abc"), tls=context) as server:
        assert await fetch(trusting, server.url(host="hooks.example")) == b"abc"
        assert (await refusal(trusting, server.url(host="other.example"))).code == "url_unreachable"
        assert (await refusal(distrusting, server.url(host="hooks.example"))).code == "url_unreachable"
        for egress, host in ((trusting, "other.example"), (distrusting, "hooks.example")):
            assert (await refusal(egress, server.url(host=host))).details["because"] == "certificate"
    await trusting.stop()
    await distrusting.stop()


async def test_a_body_without_an_end_is_cut_off(egress: Egress) -> None:
    async with web_server(endless) as server:
        assert (await refusal(egress, server.url(), max_bytes=200_000)).code == "url_too_large"


async def test_an_announced_length_beyond_the_limit_is_refused_unread(egress: Egress) -> None:
    async with web_server(answering(200, b"", length=10**12)) as server:
        assert (await refusal(egress, server.url())).code == "url_too_large"


@pytest.mark.parametrize("reply", [trickling, silent])
async def test_a_server_that_is_too_slow_is_given_up(egress: Egress, reply: object) -> None:
    async with web_server(reply) as server:  # type: ignore[arg-type]  # either is a reply
        assert (await refusal(egress, server.url(), total_s=0.1)).code == "url_timed_out"


async def test_what_breaks_off_or_is_no_http_is_told(egress: Egress) -> None:
    async with web_server() as server:
        for reply, code in ((broken, "url_unreachable"), (nonsense, "url_unreachable")):
            server.reply = reply
            assert (await refusal(egress, server.url())).code == code
        gone = server.url()
    assert (await refusal(egress, gone)).code == "url_unreachable"


async def test_a_compressed_answer_is_not_opened(egress: Egress) -> None:
    async with web_server(answering(200, b"\x1f\x8b...", {"Content-Encoding": "gzip"})) as server:
        error = await refusal(egress, server.url())
    assert error.code == "url_bad_answer" and "gzip" in error.message


async def test_an_answer_other_than_200_is_no_file(egress: Egress) -> None:
    async with web_server() as server:
        for status in (204, 403, 404, 500):
            server.reply = answering(status)
            error = await refusal(egress, server.url("/f?sig=hidden"))
            assert (error.code, error.details["answered"]) == ("url_bad_answer", status)


async def test_an_address_that_does_not_answer_leaves_the_next_its_turn() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]  # nobody listens at the first

    egress = Egress(EgressSettings(allow=("127.0.0.0/8",)), resolve=resolve)
    async with web_server(answering(200, b"abc")) as server:
        assert await fetch(egress, server.url(host="two.example")) == b"abc"
    await egress.stop()


async def test_a_message_is_answered_even_by_an_endless_or_broken_body(egress: Egress) -> None:
    async with web_server() as server:
        for reply, status in ((endless, 200), (broken, 200), (answering(503, headers={"Retry-After": "7"}), 503)):
            server.reply = reply
            answered = await egress.post(server.url("/hook"), b"{}", [("X-Y", "z")], total_s=20.0)
            assert answered.status == status
        assert answered.retry_after == "7"
        assert server.got[0].body == b"{}" and server.got[0].headers["x-y"] == "z"
