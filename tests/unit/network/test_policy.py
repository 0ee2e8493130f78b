"""Which URLs and addresses may be reached.

RFC 9728 section 7.7 (server-side request forgery): metadata names URLs that the client never chose, so it has to take
precautions before it requests them, such as blocking internal addresses.
"""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_login.errors import PolicyError
from mcp_login.network.policy import AddressSpace, NetworkPolicy, address_space, space_of_host

__all__: list[str] = []

PUBLIC, PRIVATE, LINK_LOCAL, LOOPBACK = AddressSpace


@pytest.mark.parametrize(
    ("ip", "space"),
    [
        ("93.184.216.34", PUBLIC),
        ("2606:2800:220:1:248:1893:25c8:1946", PUBLIC),
        ("10.0.0.1", PRIVATE),
        ("172.16.0.1", PRIVATE),
        ("192.168.1.1", PRIVATE),
        ("169.254.169.254", LINK_LOCAL),
        ("100.64.0.1", PRIVATE),
        ("100.100.100.200", LINK_LOCAL),
        ("192.0.0.192", LINK_LOCAL),
        ("168.63.129.16", LINK_LOCAL),
        ("198.18.0.1", PRIVATE),
        ("203.0.113.1", PRIVATE),
        ("224.0.0.1", PRIVATE),
        ("240.0.0.1", PRIVATE),
        ("255.255.255.255", PRIVATE),
        ("192.0.0.8", PRIVATE),
        ("fe80::1", LINK_LOCAL),
        ("fe80::1%eth0", LINK_LOCAL),
        ("fc00::1", PRIVATE),
        ("fd00:ec2::254", LINK_LOCAL),
        ("fd00:ec2::23", LINK_LOCAL),
        ("fd00:42::42", LINK_LOCAL),
        ("fec0::1", PRIVATE),
        ("ff0e::1", PRIVATE),
        ("2001:db8::1", PRIVATE),
        ("3fff::1", PRIVATE),
        ("2001:0:1::", PRIVATE),
        ("5f00::1", PRIVATE),
        ("100::1", PRIVATE),
        ("2001::1", PRIVATE),
        ("64:ff9b:1::808:808", PRIVATE),
        ("64:ff9b:1::7f00:1", LOOPBACK),
        ("64:ff9b::a9fe:a9fe", LINK_LOCAL),
        ("fd20:ce::254", LINK_LOCAL),
        ("2606:2800:220:1:0:5efe:10.0.0.1", PRIVATE),
        ("2606:2800:220:1:200:5efe:127.0.0.1", LOOPBACK),
        ("2606:2800:220:1:200:5efe:8.8.8.8", PUBLIC),
        ("fe80::5efe:8.8.8.8", LINK_LOCAL),
        ("127.0.0.1", LOOPBACK),
        ("127.255.255.254", LOOPBACK),
        ("::1", LOOPBACK),
        ("0.0.0.0", LOOPBACK),
        ("0.1.2.3", LOOPBACK),
        ("::", LOOPBACK),
    ],
)
def test_an_address_has_the_space_of_those_who_can_reach_it(ip: str, space: AddressSpace) -> None:
    assert address_space(ip) is space


@settings(max_examples=40)
@given(st.ip_addresses(v=4).map(lambda ip: ipaddress.IPv4Address(int(ip))))
def test_an_ipv4_address_inside_an_ipv6_address_counts(ip: ipaddress.IPv4Address) -> None:
    """RFC 4291 section 2.5.5.2 (mapped), RFC 6052 section 2.1 (NAT64), RFC 3056 section 2 (6to4)."""
    wanted = address_space(str(ip))
    for prefix in ("::ffff:0:0", "64:ff9b::", "::ffff:0:0:0"):
        assert address_space(str(ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | int(ip)))) is wanted
    sixtofour = ipaddress.IPv6Address((0x2002 << 112) | (int(ip) << 80))
    assert address_space(str(sixtofour)) is wanted


@pytest.mark.parametrize(
    ("host", "space"),
    [
        ("localhost", LOOPBACK),
        ("LOCALHOST.", LOOPBACK),
        ("mcp.localhost", LOOPBACK),
        ("127.1", LOOPBACK),
        ("0x7f.0.0.1", LOOPBACK),
        ("2130706433", LOOPBACK),
        ("017700000001", LOOPBACK),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("10.1", PRIVATE),
        ("8.8.8.8", PUBLIC),
        ("cafe.de", None),
        ("localhost.example.com", None),
        ("notlocalhost", None),
    ],
)
def test_a_host_that_tells_its_space_needs_no_resolver(host: str, space: AddressSpace | None) -> None:
    assert space_of_host(host) is space


@pytest.mark.parametrize(
    "url",
    [
        "https://mcp.example.com/mcp",
        "https://93.184.216.34/",
        "https://[2606:2800:220:1:248:1893:25c8:1946]:8443/",
    ],
)
def test_a_public_server_may_lead_to_public_servers(url: str) -> None:
    NetworkPolicy().check_url(url, floor=PUBLIC)


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "http://localhost:8080/",
    ],
)
def test_a_public_server_may_not_lead_into_private_networks(url: str) -> None:
    with pytest.raises(PolicyError, match="public server led to it"):
        NetworkPolicy().check_url(url, floor=PUBLIC)
    NetworkPolicy(allow_private_network=True).check_url(url, floor=PUBLIC)


def test_a_private_server_may_lead_to_its_network_but_not_to_this_machine() -> None:
    policy = NetworkPolicy()
    policy.check_url("https://10.0.0.1/", floor=PRIVATE)
    policy.check_address("10.0.0.1", floor=PRIVATE, url="https://intranet/")
    with pytest.raises(PolicyError, match=r"127\.0\.0\.1 is a loopback address"):
        policy.check_address("127.0.0.1", floor=PRIVATE, url="https://intranet/")
    with pytest.raises(PolicyError, match=r"private server led to it, but 169\.254\.169\.254 is a link-local address"):
        policy.check_url("https://169.254.169.254/latest/meta-data/", floor=PRIVATE)


@pytest.mark.parametrize(
    "url",
    [
        "http://mcp.example.com/",
        "http://10.0.0.1/",
        "ftp://mcp.example.com/",
        "file:///etc/passwd",
        "https:///path",
        "https://user:pw@mcp.example.com/",
        "https://mcp.example.com\\@evil.example/",
        "https://mcp.example.com/\r\nHost: evil",
        "https://mcp.example.com:port/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        # One host for `urlsplit`, another one for httpx.
        "https://evil.example[v1.x]/",
        "https://a^b/",
        "https://bücher.example/",
        "https://mcp.example.com/" + "x" * 65_536,
        "mcp.example.com",
        "",
    ],
)
def test_a_url_that_no_login_should_request_is_refused(url: str) -> None:
    """Specification, "Communication Security": "All authorization server endpoints **MUST** be served over HTTPS." """
    with pytest.raises(PolicyError):
        NetworkPolicy().check_url(url, floor=LOOPBACK)


def test_a_host_of_marks_that_are_to_be_put_in_order_takes_no_time() -> None:
    """Where it is not refused before, `urlsplit` is at it for minutes."""
    with pytest.raises(PolicyError):
        NetworkPolicy().check_url("https://a" + "\u0315\u0300" * 30_000, floor=LOOPBACK)


def test_plain_http_is_for_loopback_even_if_a_localhost_name_resolves_elsewhere() -> None:
    policy = NetworkPolicy()
    policy.check_address("127.0.0.1", floor=LOOPBACK, url="http://mcp.localhost/")
    for ip in ("93.184.216.34", "10.0.0.1"):
        with pytest.raises(PolicyError, match="plain http"):
            policy.check_address(ip, floor=LOOPBACK, url="http://mcp.localhost/")


def test_plain_http_to_a_public_address_is_refused_even_where_private_networks_are_allowed() -> None:
    policy = NetworkPolicy(allow_private_network=True)
    policy.check_url("http://intranet/", floor=PUBLIC)
    policy.check_address("10.0.0.1", floor=PUBLIC, url="http://intranet/")
    with pytest.raises(PolicyError, match="plain http"):
        policy.check_address("93.184.216.34", floor=PUBLIC, url="http://intranet/")
    with pytest.raises(PolicyError, match="plain http"):
        policy.check_url("http://93.184.216.34/", floor=LOOPBACK)


def test_a_refusal_shows_neither_passwords_nor_queries() -> None:
    with pytest.raises(PolicyError) as password:
        NetworkPolicy().check_url("https://user:hunter2@mcp.example.com/?key=hunter2", floor=LOOPBACK)
    with pytest.raises(PolicyError) as port:
        NetworkPolicy().check_url("https://user:hunter2@mcp.example.com:port/?key=hunter2", floor=LOOPBACK)
    with pytest.raises(PolicyError) as address:
        NetworkPolicy().check_url("https://10.0.0.1/?key=hunter2", floor=PUBLIC)
    assert "hunter2" not in str(password.value) + str(port.value) + str(address.value)


@settings(max_examples=40)
@given(st.text() | st.text().map("https://{}".format) | st.text().map("https://[{}]/".format))
def test_any_text_is_let_through_or_refused_and_nothing_else(url: str) -> None:
    try:
        NetworkPolicy().check_url(url, floor=PUBLIC)
    except PolicyError:
        pass
    else:
        assert url.lower().startswith("https://")
