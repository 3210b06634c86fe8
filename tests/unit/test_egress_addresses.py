"""Which URLs of callers may be followed: a table of addresses, spellings and names."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.domain.errors import ConfigError, UrlFailed
from springtide.egress.addresses import Allowed, refusal
from springtide.egress.guard import EgressSettings, Guard
from springtide.egress.urls import redacted, target

NOTHING = Allowed()
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0"]
PUBLIC += ["192.0.1.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "11.0.0.0", "9.255.255.255"]
PUBLIC += ["2606:4700:4700::1111", "2a00:1450:4001::200e", "2400:cb00::1", "2001:4860:4860::8888"]
NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.8.8.8",
    "168.63.129.16", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.7",
    "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.1.2.3", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", "2002:7f00:1::1", "2002:808:808::1", "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254",
    "fe80::1", "fec0::1", "ff02::1", "100::1", "4000::1", "5f00::1",
]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_may_be_reached(text: str) -> None:
    assert refusal(ipaddress.ip_address(text), NOTHING) is None


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_all_others_are_refused_with_the_reason(text: str) -> None:
    assert refusal(ipaddress.ip_address(text), NOTHING)


@given(st.ip_addresses())
def test_what_python_calls_not_global_is_never_reached(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if not address.is_global or address.is_multicast:
        assert refusal(address, NOTHING)


def test_an_allowed_network_opens_what_it_holds_and_no_more() -> None:
    allowed = Allowed.of(["10.0.0.0/8", "192.168.1.7", "fd12::/16"])
    opened = ["10.1.2.3", "192.168.1.7", "fd12::1"]
    closed = ["192.168.1.8", "127.0.0.1", "169.254.169.254", "fd00:ec2::254", "::ffff:10.1.2.3"]
    assert all(refusal(ipaddress.ip_address(text), allowed) is None for text in opened)
    assert all(refusal(ipaddress.ip_address(text), allowed) for text in closed)


def test_an_allowed_tunnel_does_not_open_what_lies_behind_it() -> None:
    allowed = Allowed.of(["64:ff9b::/96", "::ffff:0:0/96"])
    assert refusal(ipaddress.ip_address("64:ff9b::808:808"), allowed) is None
    assert refusal(ipaddress.ip_address("64:ff9b::a9fe:a9fe"), allowed)  # 169.254.169.254
    assert refusal(ipaddress.ip_address("::ffff:127.0.0.1"), allowed)


def test_an_allowed_name_opens_private_addresses_but_never_the_link_itself() -> None:
    allowed = Allowed.of(["hooks.internal", "*.svc.cluster.local"])
    assert allowed.has_name("hooks.internal") and allowed.has_name("a.b.svc.cluster.local")
    assert not any(map(allowed.has_name, ("xhooks.internal", "a.hooks.internal", "svc.cluster.local")))
    for text in ("10.0.0.1", "127.0.0.1", "fd12::1"):
        assert refusal(ipaddress.ip_address(text), allowed, by_name=True) is None
    for text in ("169.254.169.254", "fd00:ec2::254", "fe80::1", "224.0.0.1", "0.0.0.0", "::ffff:169.254.169.254"):
        assert refusal(ipaddress.ip_address(text), allowed, by_name=True)


@pytest.mark.parametrize("entry", ["", "10.0.0.0/33", "10.0.0.1/8", "http://x", "a b", "*", "1.2.3", "host:80"])
def test_an_entry_that_is_neither_network_nor_name_is_told(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"egress\.allow"):
        Allowed.of([entry])


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "file:///etc/passwd", "gopher://x/", "//example.com", "example.com", "https://", "https:///x",
        "https://user:pw@example.com/", "https://@example.com/", "https://example.com@10.0.0.1/", "https://a b/",
        "https://example.com\\@10.0.0.1/", "https://example.com/\r\nX: y", "https://example.com:0/", "https://x:99999/",
        "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/", "https://127.1/", "https://0x7f.1/",
        "https://127.0.0.1.1/", "https://1/", "https://[::1%25lo]/", "https://[fe80::1%eth0]/",
        "https://[v1.x]/", "https://[::1]a.example/",
        "https://%31%32%37.0.0.1/", "https://exa_mple..com/", "https://-/", "https://\u2488.com/",
        "https://a/" + "x" * 9000,
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(UrlFailed) as caught:
        target(url)
    assert caught.value.code == "url_refused"


def test_a_url_is_taken_apart_once() -> None:
    asked = target("HTTPS://Bücher.Example.:8443/a%20b/é?X-Amz-Signature=ab%2Fc&x=1#part")
    assert (asked.scheme, asked.host, asked.port) == ("https", "xn--bcher-kva.example", 8443)
    assert asked.path == "/a%20b/%C3%A9?X-Amz-Signature=ab%2Fc&x=1"
    assert asked.authority == "xn--bcher-kva.example:8443"
    assert str(target("https://１２７.0.0.1/").address) == "127.0.0.1"  # digits of full width mean the same host
    assert target("http://[2001:DB8::1]:80/").authority == "[2001:db8::1]"


def test_what_is_shown_of_a_url_has_no_secrets() -> None:
    assert redacted("https://user:pw@b.example/key.png?X-Amz-Signature=abc#f") == "https://b.example/key.png?…"
    assert redacted("data:image/png;base64,AAAA") == redacted("nonsense") == redacted("http://[") == "(no URL)"


async def _judged(url: str, *answers: str, **settings: object) -> str:
    """`ok`, or the code of the refusal; `answers`: what the name resolves to."""

    async def resolve(host: str, port: int) -> list[str]:
        if not answers:
            raise OSError("no such name")
        return list(answers)

    asked = target(url)
    try:
        await Guard(EgressSettings(**settings), resolve).addresses(asked.scheme, asked.host, asked.port)  # type: ignore[arg-type]  # keywords of the test
    except UrlFailed as error:
        return error.code
    return "ok"


async def test_names_are_judged_by_every_address_they_have() -> None:
    assert await _judged("https://a.example/", "93.184.216.34", "2606:4700::1") == "ok"
    assert await _judged("https://a.example/", "93.184.216.34", "10.0.0.1") == "url_refused"
    assert await _judged("https://a.example/", "169.254.169.254") == "url_refused"
    assert await _judged("https://a.example/", "fe80::1%eth0") == "url_refused"
    assert await _judged("https://a.example/") == "url_unreachable"
    assert await _judged("https://a.example/", "10.0.0.1", allow=("a.example",)) == "ok"


async def test_scheme_and_port_are_limited_but_for_what_is_allowed() -> None:
    assert await _judged("http://a.example/", "93.184.216.34") == "url_refused"
    assert await _judged("http://a.example/", "93.184.216.34", plain_http=True) == "ok"
    assert await _judged("https://a.example:6379/", "93.184.216.34") == "url_refused"
    assert await _judged("http://a.example:6379/", "10.0.0.1", allow=("10.0.0.0/8",)) == "ok"
    assert await _judged("http://a.example:6379/", "10.0.0.1", "93.184.216.34", allow=("10.0.0.0/8",)) == "url_refused"
