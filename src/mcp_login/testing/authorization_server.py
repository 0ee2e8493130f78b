"""The embedded authorization server's metadata (RFC 8414), registration (RFC 7591) and authorization endpoint.

The latter by RFC 6749 section 4.1, with PKCE (RFC 7636), resource indicators (RFC 8707) and `iss` (RFC 9207).
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.responses import JSONResponse, RedirectResponse, Response

from .clients import ClientRefused, Clients, RegistrationRefused, is_loopback
from .consent import consent_page, error_page
from .tokens import Authorization, Grant, Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .configuration import RegisteredClient
    from .request_log import RecordedRequest
    from .site import Site

__all__ = ["AuthorizationServer", "absent", "merged", "repeated"]

_CHALLENGE = re.compile(r"[A-Za-z0-9\-_]{43}")
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_NO_STORE = {"Cache-Control": "no-store"}


class _Refused(Exception):
    """An error that goes back to the client by redirect (RFC 6749 section 4.1.2.1)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error = error
        self.description = description


@dataclass(frozen=True, slots=True)
class _Asked:
    """A valid authorization request."""

    client: RegisteredClient
    redirect_uri: str
    state: str | None = field(repr=False)
    scopes: tuple[str, ...]
    resource: str | None
    code_challenge: str = field(repr=False)
    offline: bool


class AuthorizationServer:
    """The endpoints that people and clients meet before there is a code. Each takes a request and gives a response."""

    def __init__(self, site: Site, clients: Clients, tokens: Tokens) -> None:
        self._site = site
        self._clients = clients
        self._tokens = tokens
        self._lock = threading.Lock()
        self._other_sites: list[Site] = []
        self._asked: dict[str, _Asked] = {}
        self._states: set[str] = set()
        self.authorizations: list[Authorization] = []

    def secrets(self) -> set[str]:
        """Every `state` so far."""
        with self._lock:
            return set(self._states)

    def protect(self, site: Site) -> None:
        """Issue tokens for the MCP server at `site`, too."""
        with self._lock:
            self._other_sites.append(site)

    def resources(self) -> set[str]:
        """The resources that tokens may be issued for."""
        with self._lock:
            return {self._site.resource, *(site.resource for site in self._other_sites)}

    def metadata(self, request: RecordedRequest) -> Response:
        """RFC 8414 section 3, OpenID Connect Discovery section 4."""
        site, settings = self._site, self._site.configuration
        if request.path not in site.server_metadata_paths or not site.is_server(request.headers.get("host", "")):
            return absent(settings.absent_status)
        query = settings.authorization_endpoint_query
        document: dict[str, Any] = {
            "issuer": site.issuer,
            "authorization_endpoint": site.server_endpoint("authorize") + (f"?{query}" if query else ""),
            "token_endpoint": site.server_endpoint("token"),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
        }
        if "dynamic" in settings.registration:
            document["registration_endpoint"] = site.server_endpoint("register")
        if "metadata_document" in settings.registration:
            document["client_id_metadata_document_supported"] = True
        if settings.revocation:
            document["revocation_endpoint"] = site.server_endpoint("revoke")
        if settings.server_scopes_supported is not None:
            document["scopes_supported"] = list(self._known_scopes() or ())
        if settings.advertise_auth_methods:
            methods = list(settings.token_endpoint_auth_methods)
            document["token_endpoint_auth_methods_supported"] = methods
            if settings.revocation:
                document["revocation_endpoint_auth_methods_supported"] = methods
        if settings.advertise_pkce:
            document["code_challenge_methods_supported"] = ["S256"]
        if settings.iss in ("on", "withheld", "wrong"):
            document["authorization_response_iss_parameter_supported"] = True
        return JSONResponse(merged(document, settings.server_metadata_overrides))

    def register(self, request: RecordedRequest) -> Response:
        """RFC 7591 section 3."""
        settings = self._site.configuration
        if "dynamic" not in settings.registration:
            return absent(404)
        if request.method != "POST":
            return Response(status_code=405, headers={"Allow": "POST"})
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _registration_error("invalid_client_metadata", "The Content-Type is not application/json.")
        try:
            answer = self._clients.register(json.loads(request.body))
        except RegistrationRefused as refused:
            return _registration_error(refused.error, refused.description)
        except ValueError:
            return _registration_error("invalid_client_metadata", "The body is not JSON.")
        return JSONResponse(answer, settings.registration_status, _NO_STORE)

    async def authorize(self, request: RecordedRequest, failure: tuple[str, str] | None = None) -> Response:
        """RFC 6749 section 4.1.1. `failure`: an error and its description to send back instead of asking the person."""
        if request.method not in ("GET", "POST"):
            return Response(status_code=405, headers={"Allow": "GET, POST"})
        params = request.params
        try:
            client, redirect_uri = await self._trusted_target(request)
        except ClientRefused as refused:
            return error_page(refused.description)
        state = params.get("state")
        if state:
            with self._lock:
                self._states.add(state)
        try:
            return self._ask(self._asked_for(request, client, redirect_uri, failure), params.get("prompt", "").split())
        except _Refused as refused:
            return self._back(redirect_uri, {"error": refused.error, "error_description": refused.description}, state)

    def decide(self, request: RecordedRequest) -> Response:
        """The form of the page that the person was shown."""
        if request.method != "POST":
            return Response(status_code=405, headers={"Allow": "POST"})
        with self._lock:
            asked = self._asked.pop(request.params.get("transaction", ""), None)
        if asked is None:
            return error_page("This question was answered already, or was never asked.")
        return self._decided(asked, approved=request.params.get("decision") == "approve")

    def _ask(self, asked: _Asked, prompt: list[str]) -> Response:
        settings = self._site.configuration
        if settings.auto_approve:
            return self._decided(asked, approved=True, status=302)
        if "none" in prompt:
            raise _Refused("consent_required", "A person has to be asked, and prompt=none forbids it.")
        transaction = secrets.token_urlsafe(24)
        with self._lock:
            self._asked[transaction] = asked
        return consent_page(
            client_name=asked.client.client_name or asked.client.client_id,
            resource=asked.resource or self._site.resource,
            scopes=asked.scopes,
            redirect_uri=asked.redirect_uri,
            action=urlsplit(self._site.server_endpoint("consent")).path,
            transaction=transaction,
        )

    def _decided(self, asked: _Asked, *, approved: bool, status: int = 303) -> Response:
        allowed = self._site.configuration.granted_scopes
        granted = tuple(s for s in asked.scopes if allowed is None or s in allowed) if approved else ()
        authorization = Authorization(
            client_id=asked.client.client_id,
            redirect_uri=asked.redirect_uri,
            requested_scopes=asked.scopes,
            granted_scopes=granted,
            resource=asked.resource,
            decision="approved" if approved else "denied",
        )
        with self._lock:
            self.authorizations.append(authorization)
        if not approved:
            answer = {"error": "access_denied", "error_description": "The person said no."}
            return self._back(asked.redirect_uri, answer, asked.state, status=status)
        grant = Grant(
            issuer=self._site.issuer,
            client_id=asked.client.client_id,
            redirect_uri=asked.redirect_uri,
            scopes=granted,
            requested_scopes=asked.scopes,
            resource=asked.resource or self._site.resource,
            code_challenge=asked.code_challenge,
            refreshable=self._refreshable(asked, granted),
        )
        return self._back(asked.redirect_uri, {"code": self._tokens.new_code(grant)}, asked.state, status=status)

    def _refreshable(self, asked: _Asked, granted: tuple[str, ...]) -> bool:
        rule = self._site.configuration.refresh_tokens
        if rule == "never" or "refresh_token" not in asked.client.grant_types:
            return False
        return rule == "always" or (asked.offline and "offline_access" in granted)

    def _back(self, redirect_uri: str, answer: Mapping[str, str], state: str | None, *, status: int = 302) -> Response:
        answer = dict(answer)
        if state is not None:
            answer["state"] = state
        rule = self._site.configuration.iss
        if rule in ("on", "unadvertised"):
            answer["iss"] = self._site.issuer
        elif rule == "wrong":
            answer["iss"] = f"{self._site.server_origin}/another-issuer"
        parts = urlsplit(redirect_uri)
        query = f"{parts.query}&{urlencode(answer)}" if parts.query else urlencode(answer)
        location = urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
        return RedirectResponse(location, status, {**_NO_STORE, "Referrer-Policy": "no-referrer"})

    async def _trusted_target(self, request: RecordedRequest) -> tuple[RegisteredClient, str]:
        """Client and redirect URI, or `ClientRefused`: until both are known to be right, nobody is redirected."""
        problem = repeated(request, ("client_id", "redirect_uri"))
        if problem or not request.params.get("client_id"):
            raise ClientRefused("The client_id or the redirect_uri is missing or there twice.")
        expected = parse_qsl(self._site.configuration.authorization_endpoint_query, keep_blank_values=True)
        if any(pair not in request.query for pair in expected):
            raise ClientRefused("The query of the authorization endpoint's own URL was lost.")
        client = await self._clients.find(request.params["client_id"])
        redirect_uri = request.params.get("redirect_uri", "")
        if not any(self._same_redirect(redirect_uri, known) for known in client.redirect_uris):
            raise ClientRefused("The redirect_uri is not one that was registered.")
        return client, redirect_uri

    def _same_redirect(self, redirect_uri: str, registered: str) -> bool:
        if redirect_uri == registered:
            return True
        if not self._site.configuration.any_loopback_port:
            return False
        try:
            asked, known = urlsplit(redirect_uri), urlsplit(registered)
            valid = asked.port is None or asked.port > 0
        except ValueError:
            return False
        same = asked._replace(netloc="") == known._replace(netloc="") and asked.hostname == known.hostname
        plain = asked.username is None and asked.password is None and "#" not in redirect_uri
        return valid and same and plain and asked.scheme == "http" and is_loopback(asked.hostname)

    def _asked_for(
        self,
        request: RecordedRequest,
        client: RegisteredClient,
        redirect_uri: str,
        failure: tuple[str, str] | None,
    ) -> _Asked:
        params = request.params
        if failure is not None:
            raise _Refused(*failure)
        twice = repeated(request)
        if twice:
            raise _Refused("invalid_request", f"A parameter is there twice: {twice}.")
        if params.get("response_type") != "code":
            raise _Refused("unsupported_response_type", "The response_type is not code.")
        if params.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(params.get("code_challenge", "")):
            raise _Refused("invalid_request", "PKCE with S256 is required (RFC 7636).")
        self._check_resource(params.get("resource"))
        scopes = self._checked_scopes(params.get("scope"))
        offline = "offline_access" in scopes and "consent" in params.get("prompt", "").split()
        return _Asked(
            client=client,
            redirect_uri=redirect_uri,
            state=params.get("state"),
            scopes=scopes,
            resource=params.get("resource"),
            code_challenge=params["code_challenge"],
            offline=offline,
        )

    def _check_resource(self, resource: str | None) -> None:
        rule = self._site.configuration.resource_parameter
        if rule == "required" and resource is None:
            raise _Refused("invalid_target", "The resource parameter is missing (RFC 8707 section 2.1).")
        if rule == "refused":
            if resource is not None:
                raise _Refused("invalid_target", "AADSTS9010010: The resource parameter doesn't match the scopes.")
        elif resource is not None and resource not in self.resources():
            raise _Refused("invalid_target", "The resource is not one of this authorization server.")

    def _checked_scopes(self, scope: str | None) -> tuple[str, ...]:
        if scope is None:
            return self._site.configuration.required_scopes
        asked = tuple(dict.fromkeys(scope.split(" ")))
        known = self._known_scopes()
        for item in asked:
            if not _SCOPE_TOKEN.fullmatch(item):
                raise _Refused("invalid_scope", "The scope is not a list of tokens with single spaces between them.")
            if known is not None and item not in known:
                raise _Refused("invalid_scope", "A scope is unknown here.")
        return asked

    def _known_scopes(self) -> tuple[str, ...] | None:
        settings = self._site.configuration
        known = settings.server_scopes_supported
        if known is not None and settings.refresh_tokens == "offline_access" and "offline_access" not in known:
            return (*known, "offline_access")
        return known


def merged(document: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`document` with `overrides` in place of its members; `...` leaves one out."""
    return {name: value for name, value in {**document, **overrides}.items() if value is not ...}


def absent(status: int) -> Response:
    """What an address without a document answers."""
    if status == 200:
        # A single-page application answers every path with its start page.
        return Response("<!doctype html><title>App</title><div id=app></div>", 200, media_type="text/html")
    return Response("Not Found" if status == 404 else f"{status}", status, media_type="text/plain")


def repeated(request: RecordedRequest, names: tuple[str, ...] | None = None) -> str | None:
    """A parameter that is there more than once (RFC 6749 section 3.1: it must not be), or None."""
    seen: set[str] = set()
    for name, _ in (*request.query, *request.form):
        if name in seen and name != "resource" and (names is None or name in names):
            return name
        seen.add(name)
    return None


def _registration_error(error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, 400, _NO_STORE)
