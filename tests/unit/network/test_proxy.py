"""Which proxy the environment asks for."""

from __future__ import annotations

import pytest

from mcp_login.network import proxy
from mcp_login.network.proxy import proxy_for

__all__: list[str] = []

PROXY = "http://proxy.example.com:3128"


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "https://mcp.example.com/", None),
        ({"HTTPS_PROXY": PROXY}, "https://mcp.example.com/", PROXY),
        ({"https_proxy": PROXY}, "https://mcp.example.com/", PROXY),
        ({"HTTPS_PROXY": PROXY}, "http://mcp.example.com/", None),
        ({"HTTP_PROXY": PROXY}, "http://mcp.example.com/", PROXY),
        ({"ALL_PROXY": PROXY}, "https://mcp.example.com/", PROXY),
        ({"HTTPS_PROXY": "proxy.example.com:3128"}, "https://mcp.example.com/", PROXY),
        ({"HTTPS_PROXY": ""}, "https://mcp.example.com/", None),
    ],
)
def test_the_variable_of_the_scheme_names_the_proxy(
    variables: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == proxy


@pytest.mark.parametrize(
    "url", ["http://localhost:1/", "http://mcp.localhost/", "https://127.0.0.1/", "https://[::1]/"]
)
def test_loopback_is_never_asked_of_a_proxy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    assert proxy_for(url) is None


def test_for_loopback_the_system_is_not_asked_for_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS's answer can't be had in a forked process: asking for it ends the process."""

    def settings() -> dict[str, str]:
        raise AssertionError("the system was asked")

    monkeypatch.setattr(proxy, "getproxies", settings)
    assert proxy_for("http://127.0.0.1:8000/mcp") is None
    with pytest.raises(AssertionError):
        proxy_for("https://mcp.example.com/mcp")


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("*", "https://mcp.example.com/"),
        ("example.com", "https://example.com/"),
        ("example.com", "https://mcp.example.com/"),
        (".example.com", "https://mcp.example.com/"),
        ("*.example.com", "https://mcp.example.com/"),
        ("Example.COM", "https://mcp.example.com./"),
        ("other.test, mcp.example.com", "https://mcp.example.com/"),
        ("mcp.example.com:8443", "https://mcp.example.com:8443/"),
        ("mcp.example.com:443", "https://mcp.example.com/"),
        ("10.0.0.0/8", "https://10.1.2.3/"),
        ("10.1.2.3", "https://10.1.2.3/"),
        ("fd00::/8", "https://[fd00::1]/"),
        ("[fd00::1]", "https://[fd00::1]/"),
    ],
)
def test_no_proxy_excepts_a_host(no_proxy: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(url) is None


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("", "https://mcp.example.com/"),
        ("ample.com", "https://mcp.example.com/"),
        ("mcp.example.com:8443", "https://mcp.example.com/"),
        ("11.0.0.0/8", "https://10.1.2.3/"),
        (",:,", "https://mcp.example.com/"),
    ],
)
def test_no_proxy_excepts_nothing_else(no_proxy: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert proxy_for(url) == PROXY
