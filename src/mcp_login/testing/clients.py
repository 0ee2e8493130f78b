"""The clients that the embedded authorization server knows: how they register, and how they prove who they are."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
import threading
import urllib.request
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote_plus, urlsplit

import anyio.to_thread

from .configuration import AuthMethod, RegisteredClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .site import Site

__all__ = ["ClientRefused", "Clients", "RegistrationRefused", "is_loopback"]


class RegistrationRefused(Exception):
    """An error of the registration endpoint (RFC 7591 section 3.2.2)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error = error
        self.description = description


class ClientRefused(Exception):
    """The client is unknown, or did not prove who it is."""

    def __init__(self, description: str, *, error: str = "invalid_client") -> None:
        super().__init__(description)
        self.error = error
        self.description = description


class Clients:
    """Registration (RFC 7591, metadata documents, by hand) and client authentication (RFC 6749 section 2.3)."""

    def __init__(self, site: Site, clock: Callable[[], float]) -> None:
        self._site = site
        self._clock = clock
        self._lock = threading.Lock()
        #: By issuer and client id: an issuer that has moved is another authorization server.
        self._dynamic: dict[tuple[str, str], RegisteredClient] = {}
        self._documents: dict[str, RegisteredClient] = {}
        self._secrets: set[str] = set()

    def secrets(self) -> set[str]:
        """Every client secret so far."""
        with self._lock:
            given = {client.client_secret for client in self._site.configuration.clients if client.client_secret}
            return self._secrets | given

    def forget(self) -> None:
        """Registrations vanish: those made dynamically, and metadata documents that were fetched."""
        with self._lock:
            self._dynamic.clear()
            self._documents.clear()

    async def find(self, client_id: str) -> RegisteredClient:
        """The client `client_id`. Raises `ClientRefused` where there is none."""
        settings = self._site.configuration
        if "pre_registered" in settings.registration:
            for client in settings.clients:
                if client.client_id == client_id:
                    return client
        with self._lock:
            known = self._dynamic.get((self._site.issuer, client_id)) or self._documents.get(client_id)
        if known is not None:
            return known
        if "metadata_document" in settings.registration and client_id.startswith("https://"):
            return await self._from_document(client_id)
        raise ClientRefused("The client is unknown.")

    def registered(self, client_id: str) -> RegisteredClient | None:
        """The client that was registered by hand or dynamically as `client_id`."""
        for client in self._site.configuration.clients:
            if client.client_id == client_id:
                return client
        with self._lock:
            return self._dynamic.get((self._site.issuer, client_id))

    def register(self, metadata: object) -> dict[str, Any]:
        """Register a client (RFC 7591 section 3.1); the members of the answer. Raises `RegistrationRefused`."""
        settings = self._site.configuration
        if not isinstance(metadata, dict):
            raise RegistrationRefused("invalid_client_metadata", "The body is not a JSON object.")
        self._check_redirects(metadata)
        self._check_scopes(metadata)
        grant_types = _strings(metadata, "grant_types", ("authorization_code",))
        if not set(grant_types) <= {"authorization_code", "refresh_token"} or "authorization_code" not in grant_types:
            raise RegistrationRefused(
                "invalid_client_metadata", "Only authorization_code and refresh_token are grants here."
            )
        if _strings(metadata, "response_types", ("code",)) != ("code",):
            raise RegistrationRefused("invalid_client_metadata", "The only response type here is code.")
        method = metadata.get("token_endpoint_auth_method", "client_secret_basic")
        if method not in settings.token_endpoint_auth_methods:
            raise RegistrationRefused("invalid_client_metadata", "The token_endpoint_auth_method is not supported.")
        return self._admit(metadata, cast("AuthMethod", method), grant_types)

    def _admit(self, metadata: dict[str, Any], method: AuthMethod, grant_types: tuple[str, ...]) -> dict[str, Any]:
        settings = self._site.configuration
        quirk = settings.registration_answer
        now = self._clock()
        issued: dict[str, Any] = {"client_id": f"client-{secrets.token_hex(8)}", "client_id_issued_at": int(now)}
        accepted: tuple[AuthMethod, ...] = (method,)
        said: str | None = method
        if quirk == "secret_despite_none":
            said, accepted = "none", ("client_secret_post",)
        elif quirk == "secret_without_method":
            said, accepted = None, tuple(m for m in settings.token_endpoint_auth_methods if m != "none")
        expires_at = None
        if accepted != ("none",):
            lifetime = settings.client_secret_lifetime
            expires_at = None if lifetime is None else now + lifetime
            # A colon, a percent sign and a space: wrong encoding in client_secret_basic shows (RFC 6749 section 2.3.1).
            issued["client_secret"] = f"secret {secrets.token_urlsafe(24)}:%+"
            issued["client_secret_expires_at"] = 0 if expires_at is None else int(expires_at)
        client = RegisteredClient(
            client_id=issued["client_id"],
            client_secret=issued.get("client_secret"),
            redirect_uris=_strings(metadata, "redirect_uris", ()),
            client_name=_text(metadata, "client_name"),
            token_endpoint_auth_method=accepted[0],
            accepted_auth_methods=accepted,
            grant_types=grant_types,
            mechanism="dynamic",
            client_secret_expires_at=expires_at,
        )
        with self._lock:
            self._dynamic[self._site.issuer, client.client_id] = client
            if client.client_secret:
                self._secrets.add(client.client_secret)
        answer = {**metadata, "grant_types": list(grant_types), **issued}
        answer.pop("token_endpoint_auth_method", None)
        return answer if said is None else {**answer, "token_endpoint_auth_method": said}

    def _check_redirects(self, metadata: Mapping[str, Any]) -> None:
        settings = self._site.configuration
        redirects = _strings(metadata, "redirect_uris", (), error="invalid_redirect_uri")
        if not redirects:
            raise RegistrationRefused("invalid_redirect_uri", "There is no redirect URI.")
        kind = metadata.get("application_type", settings.omitted_application_type)
        for redirect in redirects:
            problem = _redirect_problem(redirect, kind, settings.redirect_hosts)
            if problem is not None:
                raise RegistrationRefused("invalid_redirect_uri", problem)

    def _check_scopes(self, metadata: Mapping[str, Any]) -> None:
        settings = self._site.configuration
        known = settings.server_scopes_supported
        asked = (_text(metadata, "scope") or "").split()
        if settings.strict_registration_scopes and known is not None and not set(asked) <= set(known):
            raise RegistrationRefused("invalid_client_metadata", "The scope has values that are not supported.")

    async def _from_document(self, url: str) -> RegisteredClient:
        fetch = self._site.configuration.fetch or _fetch
        try:
            document = json.loads(await anyio.to_thread.run_sync(fetch, url))
        except (OSError, ValueError):
            raise ClientRefused("The client's metadata document can't be had.") from None
        if not isinstance(document, dict) or document.get("client_id") != url:
            raise ClientRefused("The client_id in the client's metadata document is not its URL.")
        method = document.get("token_endpoint_auth_method", "none")
        # A document is public, so it can't hold a secret (draft-ietf-oauth-client-id-metadata-document section 4.1).
        if method != "none" or "client_secret" in document:
            raise ClientRefused("The client's metadata document asks for authentication by a shared secret.")
        try:
            client = RegisteredClient(
                client_id=url,
                redirect_uris=_strings(document, "redirect_uris", ()),
                client_name=_text(document, "client_name"),
                grant_types=_strings(document, "grant_types", ("authorization_code", "refresh_token")),
                mechanism="metadata_document",
            )
        except RegistrationRefused as error:
            raise ClientRefused(error.description) from None
        if not client.redirect_uris or client.client_name is None:
            raise ClientRefused("The client's metadata document has no redirect_uris or no client_name.")
        with self._lock:
            self._documents[url] = client
        return client

    async def authenticate(self, headers: Mapping[str, str], form: Mapping[str, str]) -> RegisteredClient:
        """The client that sent a token or revocation request, by exactly the method it is registered with."""
        method, client_id, secret = _presented(headers, form)
        client = await self.find(client_id)
        accepted = client.accepted_auth_methods or (client.token_endpoint_auth_method,)
        if method not in accepted:
            raise ClientRefused(f"This client authenticates by {' or '.join(accepted)}, not by {method}.")
        if method != "none":
            known = client.client_secret or ""
            if not known or not hmac.compare_digest(secret.encode(), known.encode()):
                raise ClientRefused("The client secret is wrong.")
            expires_at = client.client_secret_expires_at
            if expires_at is not None and self._clock() >= expires_at:
                raise ClientRefused("The client secret has expired.")
        return client


def is_loopback(host: str | None) -> bool:
    """Whether `host` of a redirect URI is this machine."""
    return host in ("127.0.0.1", "::1", "localhost")


def _presented(headers: Mapping[str, str], form: Mapping[str, str]) -> tuple[AuthMethod, str, str]:
    authorization = headers.get("authorization")
    if authorization is None:
        if not form.get("client_id"):
            raise ClientRefused("The client_id is missing.")
        if "client_secret" in form:
            return "client_secret_post", form["client_id"], form["client_secret"]
        return "none", form["client_id"], ""
    if "client_secret" in form:
        raise ClientRefused("A client may use one authentication method only.", error="invalid_request")
    scheme, _, encoded = authorization.partition(" ")
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if scheme.lower() != "basic" or not colon:
        raise ClientRefused("The Authorization header is not that of client_secret_basic.")
    client_id = unquote_plus(name)
    if form.get("client_id", client_id) != client_id:
        raise ClientRefused("The client_id of the body is not that of the header.", error="invalid_request")
    return "client_secret_basic", client_id, unquote_plus(secret)


def _redirect_problem(redirect: str, kind: object, hosts: tuple[str, ...] | None) -> str | None:
    try:
        parts = urlsplit(redirect)
        host = parts.hostname
    except ValueError:
        return "A redirect URI is not a URI."
    if parts.fragment or "#" in redirect or host is None:
        return "A redirect URI has a fragment, or no host."
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        return "A redirect URI is neither https nor on loopback."
    if kind == "web" and is_loopback(host):
        # OpenID Connect Dynamic Client Registration section 2.
        return "Clients of application_type web may not have a redirect URI on localhost; native ones may."
    if kind == "native" and not is_loopback(host):
        return "Clients of application_type native need a redirect URI on loopback."
    if hosts is not None and host not in hosts:
        return f"Redirect URIs have to be at {' or '.join(hosts)}."
    return None


def _strings(
    metadata: Mapping[str, Any], name: str, default: tuple[str, ...], *, error: str = "invalid_client_metadata"
) -> tuple[str, ...]:
    value = metadata.get(name, default)
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise RegistrationRefused(error, f"{name} is not a list of strings.")
    return tuple(value)


def _text(metadata: Mapping[str, Any], name: str) -> str | None:
    value = metadata.get(name)
    if value is not None and not isinstance(value, str):
        raise RegistrationRefused("invalid_client_metadata", f"{name} is not a string.")
    return value


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    # draft-ietf-oauth-client-id-metadata-document section 4: the server must not follow redirects.
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _fetch(url: str) -> bytes:
    """A metadata document over the network. Tests give `Configuration.fetch` instead."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    with opener.open(url, timeout=10) as response:
        body: bytes = response.read(64 * 1024)
    return body
