"""The embedded authorization server's token (RFC 6749 section 3.2) and revocation (RFC 7009) endpoints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.responses import Response

from .authorization_server import absent, repeated
from .clients import ClientRefused, Clients
from .tokens import Issued, TokenRefused, Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .configuration import RegisteredClient
    from .request_log import RecordedRequest
    from .site import Site

__all__ = ["TokenEndpoint"]

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class TokenEndpoint:
    """Token requests and revocations. Each takes a request and gives a response."""

    def __init__(self, site: Site, clients: Clients, tokens: Tokens) -> None:
        self._site = site
        self._clients = clients
        self._tokens = tokens

    async def token(self, request: RecordedRequest) -> Response:
        """RFC 6749 section 3.2."""
        try:
            form = _checked_form(request)
            client = await self._clients.authenticate(request.headers, form)
            return self._answer(
                request, self._members(self._grant(client, form)), self._site.configuration.token_status
            )
        except ClientRefused as refused:
            return self._client_error(request, refused)
        except TokenRefused as refused:
            return self._error(request, refused.error, refused.description)

    async def revoke(self, request: RecordedRequest) -> Response:
        """RFC 7009 section 2."""
        if not self._site.configuration.revocation:
            return absent(404)
        try:
            form = _checked_form(request)
            client = await self._clients.authenticate(request.headers, form)
            self._tokens.revoke(_required(form, "token"), client_id=client.client_id)
        except ClientRefused as refused:
            return self._client_error(request, refused)
        except TokenRefused as refused:
            return self._error(request, refused.error, refused.description)
        return Response(status_code=200, headers=_NO_STORE)

    def _grant(self, client: RegisteredClient, form: Mapping[str, str]) -> Issued:
        grant_type = _required(form, "grant_type")
        if grant_type not in ("authorization_code", "refresh_token"):
            raise TokenRefused("unsupported_grant_type", "The grant_type is not supported.")
        if grant_type not in client.grant_types:
            raise TokenRefused("unauthorized_client", "The client did not register for this grant_type.")
        if grant_type == "authorization_code":
            return self._tokens.redeem(
                _required(form, "code"),
                client_id=client.client_id,
                redirect_uri=_required(form, "redirect_uri"),
                verifier=_required(form, "code_verifier"),
                resource=form.get("resource"),
            )
        scopes = tuple(form["scope"].split()) if form.get("scope") else None
        return self._tokens.refresh(
            _required(form, "refresh_token"), client_id=client.client_id, scopes=scopes, resource=form.get("resource")
        )

    def _members(self, issued: Issued) -> dict[str, Any]:
        settings = self._site.configuration
        members: dict[str, Any] = {"access_token": issued.access_token, "token_type": settings.token_type}
        lifetime = int(issued.expires_in)
        if settings.expires_in != "omit":
            members["expires_in"] = {"number": lifetime, "string": str(lifetime), "null": None}[settings.expires_in]
        if issued.refresh_token is not None:
            members["refresh_token"] = issued.refresh_token
        changed = set(issued.scopes) != set(issued.requested_scopes)
        if settings.scope_in_answer == "always" or (settings.scope_in_answer == "unless_equal" and changed):
            members["scope"] = settings.scope_separator.join(issued.scopes)
        if settings.null_fields:
            for name in ("expires_in", "refresh_token", "scope", "id_token"):
                members.setdefault(name, None)
        return members

    def _answer(self, request: RecordedRequest, members: Mapping[str, Any], status: int) -> Response:
        style = self._site.configuration.token_answer
        asked_for_json = "application/json" in request.headers.get("accept", "")
        if style == "form" or (style == "form_unless_asked" and not asked_for_json):
            content = urlencode({name: value for name, value in members.items() if value is not None})
            return Response(content, status, _NO_STORE, media_type="application/x-www-form-urlencoded")
        return Response(json.dumps(members), status, _NO_STORE, media_type="application/json")

    def _error(self, request: RecordedRequest, error: str, description: str, status: int = 400) -> Response:
        settings = self._site.configuration
        if error == "invalid_grant":
            status = settings.invalid_grant_status
        members: dict[str, Any] = {"error": error, "error_description": description}
        if settings.token_errors == "ok_false":  # noqa: S105 (a style)
            members["ok"] = False
        if settings.null_fields:
            members["error_uri"] = None
        if settings.token_errors != "by_status":  # noqa: S105 (a style)
            status = 200
        return self._answer(request, members, status)

    def _client_error(self, request: RecordedRequest, refused: ClientRefused) -> Response:
        status = 401 if refused.error == "invalid_client" else 400
        response = self._error(request, refused.error, refused.description, status)
        if response.status_code == 401 and "authorization" in request.headers:
            # RFC 6749 section 5.2: the scheme that the client used.
            response.headers["WWW-Authenticate"] = 'Basic realm="token"'
        return response


def _required(form: Mapping[str, str], name: str) -> str:
    if name not in form:
        raise TokenRefused("invalid_request", f"The {name} is missing.")
    return form[name]


def _checked_form(request: RecordedRequest) -> Mapping[str, str]:
    if request.method != "POST":
        raise TokenRefused("invalid_request", "The method is not POST.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise TokenRefused("invalid_request", "The Content-Type is not application/x-www-form-urlencoded.")
    if request.query:
        raise TokenRefused("invalid_request", "Parameters belong in the body.")
    twice = repeated(request)
    if twice:
        raise TokenRefused("invalid_request", f"A parameter is there twice: {twice}.")
    # RFC 6749 section 3.2: parameters without a value are treated as if they were omitted.
    return {name: value for name, value in request.form if value}
