"""The tests' own fences: no other machine, no keychain, no home folder, no proxy of the person who runs them."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import keyring
import keyring.errors
import pytest

from tests.loopback_only import LeavesTheMachine, is_loopback
from tests.real import parts

__all__: list[str] = []

#: RFC 5737 and RFC 3849: addresses for documentation.
ELSEWHERE = ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"]


@pytest.mark.parametrize("address", ELSEWHERE)
def test_a_connection_to_another_machine_is_refused(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock:
        with pytest.raises(LeavesTheMachine):
            sock.connect((address, 443))
        with pytest.raises(LeavesTheMachine):
            sock.connect_ex((address, 443))
    with socket.socket(family, socket.SOCK_DGRAM) as sock, pytest.raises(LeavesTheMachine):
        sock.sendto(b"", (address, 53))


def test_asyncio_is_refused_a_connection_to_another_machine() -> None:
    with pytest.raises(LeavesTheMachine):
        asyncio.run(asyncio.wait_for(asyncio.open_connection("192.0.2.1", 443), 5))


def test_a_name_of_another_machine_is_not_looked_up() -> None:
    with pytest.raises(LeavesTheMachine):
        socket.getaddrinfo("example.com", 443)


def test_a_name_that_never_exists_is_not_found_as_with_a_resolver() -> None:
    """RFC 6761 section 6.4."""
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("nowhere.invalid", 443)


def test_loopback_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert is_loopback(client.getpeername()[0])


def test_the_home_folder_is_empty_and_not_the_person_s(home: Path) -> None:
    assert Path.home() == home
    assert [path.name for path in home.rglob("*")] == ["runtime"]


def test_there_is_no_keychain() -> None:
    with pytest.raises(keyring.errors.NoKeyringError):
        keyring.get_password("mcp-login", "mcp-login")


def test_neither_proxy_nor_display_nor_ci_is_inherited() -> None:
    names = {name.upper() for name in os.environ}
    assert names.isdisjoint({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "DISPLAY", "BROWSER", "CI"})


def test_a_part_that_is_missing_is_a_skip_or_in_ci_a_failure_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MCP_LOGIN_PARTS", str(tmp_path))
    outcome = pytest.fail.Exception if parts.in_ci() else pytest.skip.Exception
    with pytest.raises(outcome, match=r"conformance is not installed: run .*install"):
        parts.need("conformance")
