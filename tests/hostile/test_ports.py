"""Whose port the loopback listener's is: neighbours on the machine and other users (RFC 8252 sections 7.3, 8.1 and 8.3)."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

import mcp_login.sync
from mcp_login import AuthorizationErrorResponse, PolicyError, RedirectPortTaken
from tests.flows.strangers import Asked
from tests.hostile.attack import attack, refute
from tests.hostile.open_login import NAVIGATION, OpenLogin, talk
from tests.hostile.switches.listener import (
    BOTH_LOOPBACKS,
    LOOPBACK_ONLY,
    PKCE,
)

if TYPE_CHECKING:
    from tests.hostile.parties import AuthorizationServer, Resource
    from tests.hostile.world import World

__all__: list[str] = []


on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="other systems share ports, and name addresses, otherwise"
)


@on_linux
@attack("RFC 8252 section 8.3", LOOPBACK_ONLY)
def test_nothing_is_listened_on_that_others_reach(world: World, parties: tuple[Resource, AuthorizationServer]) -> None:
    reached: list[str] = []

    def look(url: str) -> bool:
        port = urlsplit(parse_qs(urlsplit(url).query)["redirect_uri"][0]).port
        # Stands for an address of the network: a socket that is bound to loopback alone isn't at it.
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.2", port or 0), timeout=5):
            reached.append("127.0.0.2")
        return True

    outcome = world.attempt(
        lambda: mcp_login.sync.login(
            parties[0].url, **world.options(callback_host="0.0.0.0", on_authorization_url=look, callback_timeout=0.1)
        )
    )
    refute(reached, "the listener can be reached by another address")
    assert isinstance(outcome.error, PolicyError)


class Squatter:
    """Another program that listens on a port, and keeps what it is told."""

    def __init__(self, host: str, port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if ":" in host:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Soon after somebody else had it.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, port))
        self._socket.listen()
        self.port: int = self._socket.getsockname()[1]
        self.heard: list[str] = []
        self._thread = threading.Thread(target=self._listen, name="squatter")

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._socket.accept()
                with peer:
                    self.heard.append(peer.recv(65536).decode("latin-1"))
                    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def __enter__(self) -> Squatter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@on_linux
@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no ::1")
@attack("RFC 8252 sections 7.3 and 8.3", BOTH_LOOPBACKS)
def test_who_sits_on_the_other_address_of_localhost_gets_no_code(
    world: World, parties: tuple[Resource, AuthorizationServer]
) -> None:
    """The port is free on 127.0.0.1; but browsers try ::1 first."""
    with Squatter("::1") as squatter:

        def browser(url: str) -> bool:
            asked = dict(parse_qs(urlsplit(url).query))
            target = f"/callback?{urlencode({'code': 'a code', 'state': asked['state'][0]})}"
            for host in ("::1", "127.0.0.1"):
                with contextlib.suppress(OSError):
                    talk(
                        f"GET {target} HTTP/1.1\r\nHost: localhost:{squatter.port}\r\n\r\n".encode(),
                        squatter.port,
                        host,
                    )
                    break
            return True

        outcome = world.attempt(
            lambda: mcp_login.sync.login(
                parties[0].url,
                **world.options(
                    callback_host="localhost",
                    callback_port=squatter.port,
                    on_authorization_url=browser,
                    callback_timeout=0.3,
                ),
            )
        )
    refute(squatter.heard, "another program was brought the code")
    assert isinstance(outcome.error, RedirectPortTaken)


@on_linux
def test_nobody_shares_the_port_of_an_open_login(login: OpenLogin) -> None:
    """Of the same user or another: by which address and with which options they ask for it."""
    for host in ("127.0.0.1", "0.0.0.0", "::"):
        for options in (("SO_REUSEADDR",), ("SO_REUSEPORT",), ("SO_REUSEADDR", "SO_REUSEPORT")):
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as thief:
                if ":" in host:
                    thief.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                for option in options:
                    thief.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
                with pytest.raises(OSError, match="in use"):
                    _take(thief, host, login.port)
    login.ends_well()


def _take(thief: socket.socket, host: str, port: int) -> None:
    thief.bind((host, port))
    thief.listen()


@on_linux
@pytest.mark.parametrize("listens_first", [True, False])
def test_a_port_that_somebody_holds_by_the_wildcard_address_is_not_used(
    world: World, parties: tuple[Resource, AuthorizationServer], listens_first: bool
) -> None:
    """Also where they have bound it only, to listen when the code is about to come."""
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("0.0.0.0", 0))
        port = thief.getsockname()[1]
        if listens_first:
            thief.listen()
            outcome = world.attempt(lambda: mcp_login.sync.login(parties[0].url, **world.options(callback_port=port)))
            assert isinstance(outcome.error, RedirectPortTaken)
            assert world.person.urls == []
            return
        with OpenLogin(world, *parties, callback_port=port) as login:
            with pytest.raises(OSError, match="in use"):
                thief.listen()
            login.ends_well()


@attack("RFC 7636 section 1; RFC 8252 section 8.1", PKCE)
def test_a_code_that_came_to_a_stranger_on_the_port_is_worth_nothing(
    world: World, parties: tuple[Resource, AuthorizationServer]
) -> None:
    """The login is over; in another tab the person says yes all the same, and somebody else has the port by then.

    They have seen the authorization URL, too: what a browser is started with, every user of the machine may read.
    """
    server = parties[1]
    with OpenLogin(world, *parties) as login:
        login.browse(login.denied(), *NAVIGATION)
        assert isinstance(login.ended().error, AuthorizationErrorResponse)
        with Squatter("127.0.0.1", login.port) as squatter:
            login.get(login.approved())
    [stolen] = parse_qs(squatter.heard[0].split()[1].partition("?")[2])["code"]
    form = {"grant_type": "authorization_code", "code": stolen, "code_verifier": login.asked.get("code_challenge", "")}
    redeemed = server.token(Asked("POST", "/token", {}, {}, urlencode(form).encode()))
    refute(redeemed.status == 200, "a stolen code was redeemed")
