"""Which proxy the environment asks for: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, or the system's settings."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .policy import AddressSpace, space_of_host

__all__ = ["proxy_for"]


def proxy_for(url: str) -> str | None:
    """The URL of the proxy for `url` (with its password, if it has one), or None to connect directly.

    Loopback is always reached directly: a proxy's loopback is another machine's.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if space_of_host(host) is AddressSpace.LOOPBACK:
        return None  # before anything is asked: macOS's answer about its settings can't be had after a fork
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if _excepted(host, port, proxies.get("no", "")) or proxy_bypass(host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _excepted(host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY names `host`: `*`, a domain with all below it (and perhaps a port), an address, a network."""
    return any(_matches(entry.strip().lower(), host, port) for entry in no_proxy.split(","))


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    network = _network(entry.strip("[]"))
    if network is not None:
        address = _address(host)
        return address is not None and address in network
    name, _, only_port = entry.rpartition(":") if ":" in entry else (entry, "", "")
    if only_port and only_port != str(port):
        return False
    name = name.strip("[]").removeprefix("*").lstrip(".")
    return bool(name) and (host == name or host.endswith("." + name))


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None
