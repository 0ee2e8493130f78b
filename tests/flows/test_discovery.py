"""From a URL to the authorization server: documents that are there, absent, unknown and broken.

Specification 2026-07-28, "Authorization Server Discovery"; DESIGN section 3, "Discovery."
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

import mcp_login.sync
from mcp_login import InvalidResponse, IssuerMismatch, LoginNotNeeded, MemoryStorage, PolicyError, TransportError
from mcp_login.testing import Fault, Person
from tests.flows.support import Login, login_of

if TYPE_CHECKING:
    from tests.flows.conftest import Serve

__all__: list[str] = []


@pytest.mark.parametrize("one_line", [True, False])
@pytest.mark.parametrize(
    "others", [("Negotiate",), ("Negotiate abcd==", 'Basic realm="a, b"', 'Digest realm="Bearer scope=\\"x\\""')]
)
def test_a_bearer_challenge_is_found_among_others(
    serve: Serve, person: Person, others: tuple[str, ...], one_line: bool
) -> None:
    """A 401 with `Negotiate` or `Basic` beside `Bearer`, in one line or several."""
    server = serve(other_challenges=others, challenges_in_one_line=one_line, resource_metadata="custom")
    login_of(server, person)
    assert server.authorizations[0].requested_scopes == ("mcp",)


@pytest.mark.parametrize("place", ["path", "root"])
def test_a_401_without_a_challenge_leads_to_the_well_known_places(
    serve: Serve, person: Person, place: Literal["path", "root"]
) -> None:
    """ "otherwise, they MUST fall back to constructing and requesting the well-known URIs in the order listed"."""
    server = serve(challenge=False, resource_metadata=place)
    login_of(server, person)
    asked = [request.path for request in server.requests.matching("resource_metadata")]
    base = "/.well-known/oauth-protected-resource"
    assert asked == [f"{base}/mcp", base][: 1 if place == "path" else 2]


def test_the_challenges_url_comes_first(serve: Serve, person: Person) -> None:
    """ "MUST ... use the resource metadata URL from the parsed WWW-Authenticate headers when present"."""
    server = serve(resource_metadata="custom")
    login_of(server, person)
    assert [request.path for request in server.requests.matching("resource_metadata")] == ["/metadata/resource.json"]


def test_a_challenges_url_without_a_document_is_no_end(serve: Serve, person: Person) -> None:
    server = serve()
    elsewhere = f'Bearer resource_metadata="{server.origin}/.well-known/oauth-protected-resource/gone"'
    server.faults.mcp_endpoint = Fault(status=401, headers={"WWW-Authenticate": elsewhere})
    login_of(server, person)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 200])
def test_an_address_that_answers_like_a_web_site_has_no_metadata(serve: Serve, person: Person, status: int) -> None:
    """400, 401, 403, 405 or 200 text/html (single-page applications) mean absent."""
    server = serve(
        challenge=False, resource_metadata="root", server_metadata=("oidc",), issuer_path="/t", absent_status=status
    )
    login_of(server, person)
    assert [request.path for request in server.requests.matching("server_metadata")] == [
        "/.well-known/oauth-authorization-server/t",
        "/.well-known/openid-configuration/t",
    ]


@pytest.mark.parametrize("place", ["oauth", "oidc", "oidc_appended"])
@pytest.mark.parametrize("path", ["", "/", "/a/b"])
def test_server_metadata_is_found_wherever_the_documents_put_it(
    serve: Serve, person: Person, place: Literal["oauth", "oidc", "oidc_appended"], path: str
) -> None:
    """ "MCP clients MUST attempt multiple well-known endpoints"; issuers are kept verbatim, with their slash."""
    server = serve(server_metadata=(place,), issuer_path=path, separate_authorization_server=True)
    login = login_of(server, person)
    assert login.record is not None
    assert login.record.issuer == server.issuer


def test_without_resource_metadata_the_origin_is_the_issuer(serve: Serve, person: Person) -> None:
    """2025-03-26: the authorization base URL is the server's origin. Atlassian: legacy endpoint without metadata."""
    server = serve(resource_metadata="absent")
    login = login_of(server, person)
    assert login.record is not None
    assert login.record.resource == server.url
    assert server.requests.matching("authorization")[0].params["resource"] == server.url


def test_default_endpoints_are_used_only_where_no_document_exists(serve: Serve, person: Person) -> None:
    """2025-03-26, "Fallbacks for Servers without Metadata Discovery"."""
    server = serve(resource_metadata="absent", server_metadata=())
    login = login_of(server, person)
    assert login.record is not None
    assert login.record.token_endpoint == f"{server.origin}/token"


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"status": 429}, {"status": 408}, {"reset": True}])
def test_an_outage_of_the_resource_metadata_is_not_taken_for_a_legacy_server(
    serve: Serve, person: Person, fault: dict[str, Any]
) -> None:
    """5xx, 429 and time-outs mean unknown: never take an outage for a legacy server."""
    server = serve(resource_metadata="absent", challenge_resource_metadata=False)
    server.faults.resource_metadata = Fault(**fault, times=1)
    login = Login(server, person)
    with pytest.raises(TransportError):
        login.ask()
    assert server.count("resource_metadata") == 2  # the other candidate was tried
    assert server.count("server_metadata") == server.count("registration") == 0
    assert login.windows == 0


def test_an_outage_at_one_candidate_does_not_matter_where_another_has_the_document(
    serve: Serve, person: Person
) -> None:
    server = serve(challenge=False, resource_metadata="root")
    server.faults.resource_metadata = Fault(status=503, times=1)
    login_of(server, person)


def test_an_outage_of_the_server_metadata_is_not_taken_for_a_server_without(serve: Serve, person: Person) -> None:
    server = serve(resource_metadata="absent", server_metadata=())
    server.faults.server_metadata = Fault(status=502, times=1)
    login = Login(server, person)
    with pytest.raises(TransportError):
        login.ask()
    assert server.count("registration") == 0
    assert login.ask().status_code == 200


def test_a_document_that_names_an_authorization_server_without_metadata_is_refused(
    serve: Serve, person: Person
) -> None:
    """Default endpoints only where no metadata document exists at all."""
    server = serve(server_metadata=())
    login = Login(server, person)
    with pytest.raises(InvalidResponse, match="no metadata"):
        login.ask()
    assert server.count("registration") == 0


@pytest.mark.parametrize(
    "overrides",
    [
        {"resource": ...},
        {"resource": None},
        {"resource": 7},
        {"resource": "https://other.example/mcp"},
        {"authorization_servers": ...},
        {"authorization_servers": []},
        {"authorization_servers": "http://127.0.0.1"},
        {"authorization_servers": [None, 3]},
    ],
    ids=str,
)
def test_broken_resource_metadata_is_an_invalid_response_that_names_the_document(
    serve: Serve, person: Person, overrides: dict[str, Any]
) -> None:
    """CVE-2026-63127: check the metadata's `resource` before trusting its authorization server."""
    server = serve(resource_metadata_overrides=overrides)
    with pytest.raises(InvalidResponse) as caught:
        Login(server, person).ask()
    assert server.origin in caught.value.url
    assert caught.value.reason
    assert server.count("server_metadata") == 0
    assert person.urls == []


@pytest.mark.parametrize(
    "overrides",
    [
        {"issuer": ...},
        {"issuer": None},
        {"authorization_endpoint": ...},
        {"token_endpoint": ...},
        {"authorization_endpoint": 7},
        {"code_challenge_methods_supported": []},
        {"code_challenge_methods_supported": ["plain"]},
        {"code_challenge_methods_supported": "S256"},
    ],
    ids=str,
)
def test_broken_server_metadata_is_an_invalid_response_that_names_the_document(
    serve: Serve, person: Person, overrides: dict[str, Any]
) -> None:
    server = serve(server_metadata_overrides=overrides)
    with pytest.raises(InvalidResponse) as caught:
        Login(server, person).ask()
    assert server.origin in caught.value.url
    assert person.urls == []
    assert server.count("registration") == 0


@pytest.mark.parametrize("suffix", ["/", "/other"])
def test_a_document_of_another_issuer_is_refused(serve: Serve, person: Person, suffix: str) -> None:
    """ "If they differ, the client MUST NOT use the metadata"; RFC 8414 section 3.3, code point for code point."""
    server = serve()
    server.reconfigure(server_metadata_overrides={"issuer": server.issuer + suffix})
    with pytest.raises(IssuerMismatch) as caught:
        Login(server, person).ask()
    assert caught.value.expected == server.issuer
    assert caught.value.received == server.issuer + suffix


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("authorization_endpoint", "javascript:alert(1)"),
        ("authorization_endpoint", "file:///etc/passwd"),
        ("authorization_endpoint", "https://a b/"),
        ("authorization_endpoint", "http://example.com/x"),
        ("token_endpoint", "http://example.com/x"),
        ("registration_endpoint", "ftp://x/"),
    ],
)
def test_an_endpoint_that_is_neither_https_nor_loopback_is_refused(
    serve: Serve, person: Person, name: str, url: str
) -> None:
    """CVE-2025-6514: the authorization endpoint is attacker's input."""
    server = serve(server_metadata_overrides={name: url})
    with pytest.raises((PolicyError, InvalidResponse)):
        Login(server, person).ask()
    assert person.urls == []


def test_the_next_authorization_server_is_used_where_the_first_is_down_and_remembered(
    serve: Serve, person: Person, closed_port: int
) -> None:
    server = serve()
    down = f"http://127.0.0.1:{closed_port}"
    server.reconfigure(resource_metadata_overrides={"authorization_servers": [down, server.issuer]})
    login = login_of(server, person)
    assert login.record is not None
    assert login.record.issuer == server.issuer


def test_the_authorization_server_that_was_used_before_comes_first(serve: Serve, person: Person) -> None:
    """RFC 9728 section 7.6: the choice is the client's. The first is back, but the registration is the second's."""
    server, other = serve(), serve()
    server.reconfigure(resource_metadata_overrides={"authorization_servers": [other.issuer, server.issuer]})
    other.faults.server_metadata = Fault(status=503, times=None)
    login = login_of(server, person)
    other.faults.clear()
    other.requests.clear()
    server.expire_access_tokens()
    server.revoke_refresh_tokens()
    assert login.ask().status_code == 200
    assert login.windows == 2
    assert len(other.requests) == 0


def test_where_no_authorization_server_can_be_reached_the_first_problem_is_told(
    serve: Serve, person: Person, closed_port: int
) -> None:
    server = serve()
    down = [f"http://127.0.0.1:{closed_port}", f"http://127.0.0.1:{closed_port}/x"]
    server.reconfigure(resource_metadata_overrides={"authorization_servers": down})
    with pytest.raises(TransportError):
        Login(server, person).ask()


def test_an_ancestor_on_the_same_origin_is_a_resource_and_is_sent_verbatim(serve: Serve, person: Person) -> None:
    """The document's string is sent verbatim and is the token's boundary."""
    server = serve(mcp_path="/api/v1/mcp", resource_path="/api/")
    login = login_of(server, person)
    assert login.record is not None
    assert login.record.resource == f"{server.origin}/api/"
    assert server.requests.matching("token")[0].params["resource"] == f"{server.origin}/api/"
    # ... and its boundary: another path below it gets the token.
    login.ask(url=f"{server.origin}/api/messages")
    assert server.requests.matching("unknown")[-1].access_token == login.record.access_token


def test_a_server_at_the_root_of_its_origin_needs_no_path(serve: Serve, person: Person) -> None:
    server = serve(mcp_path="", resource_path="")
    login = login_of(server, person)
    assert login.record is not None
    assert login.record.server_url == server.origin


@pytest.mark.parametrize("resource", ["/mc", "/mcp/sub", "/MCP", "/mcp?x=1", "/mcp#f", "/other", "/mcp/../admin"])
def test_a_resource_that_does_not_cover_the_url_is_refused(serve: Serve, person: Person, resource: str) -> None:
    server = serve()
    server.reconfigure(resource_metadata_overrides={"resource": server.origin + resource})
    with pytest.raises(InvalidResponse) as caught:
        Login(server, person).ask()
    assert server.url in str(caught.value)
    assert person.urls == []


def test_a_path_that_is_not_there_is_a_matter_of_the_url(serve: Serve, person: Person) -> None:
    server = serve(protected=False)
    login = Login(server, person)
    with pytest.raises(LoginNotNeeded, match=r"HTTP status 404 .* is its path right"):
        mcp_login.sync.login(server.origin + "/mpc", **login.options)
    assert login.windows == 0


def test_a_server_that_asks_nobody_to_log_in_is_just_used(serve: Serve, person: Person) -> None:
    server = serve(protected=False)
    login = Login(server, person)
    assert login.ask().status_code == 200
    assert server.requests.endpoints == ["mcp"]
    with pytest.raises(LoginNotNeeded, match="asks for no login"):
        mcp_login.sync.login(server.url, **login.options)
    assert login.windows == 0


@pytest.mark.parametrize("status", [503, 429])
def test_an_outage_is_not_taken_for_a_server_that_needs_no_login(serve: Serve, person: Person, status: int) -> None:
    server = serve(resource_metadata="absent")
    server.faults.mcp_endpoint = Fault(status=status, times=None)
    with pytest.raises(TransportError):
        mcp_login.sync.login(server.url, storage=MemoryStorage(), on_authorization_url=person, interactive=True)


def test_redirects_of_metadata_are_followed_within_the_origin_only(serve: Serve, person: Person) -> None:
    server, other = serve(), serve()
    server.faults.resource_metadata = Fault(
        status=302, headers={"Location": "/.well-known/oauth-protected-resource/mcp"}
    )
    login_of(server, person)
    server.faults.resource_metadata = Fault(
        status=302, headers={"Location": f"{other.origin}/.well-known/oauth-protected-resource/mcp"}, times=None
    )
    with pytest.raises(TransportError):
        Login(server, person).ask()
    assert len(other.requests) == 0


def test_a_document_that_never_ends_is_cut_off(serve: Serve, person: Person) -> None:
    server = serve()
    server.faults.resource_metadata = Fault(body=b'{"resource": "' + b"a" * (3 << 20), times=None)
    with pytest.raises(InvalidResponse):
        Login(server, person).ask()


def test_a_public_looking_document_may_not_lead_to_a_link_local_address(serve: Serve, person: Person) -> None:
    """modelcontextprotocol#1721: server-given URLs reach internal addresses: policy on every hop. (From loopback
    everything is less private, so that only a URL that is not https is left to refuse here.)
    """
    server = serve()
    server.reconfigure(resource_metadata_overrides={"authorization_servers": ["http://169.254.169.254"]})
    with pytest.raises(PolicyError):
        Login(server, person).ask()
