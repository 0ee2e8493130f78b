"""Scopes: RFC 6749 section 3.3; MCP specification 2026-07-28, Authorization, "Scope Selection Strategy" and what follows."""

from __future__ import annotations

from itertools import chain
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.protocol.scope import format_scope, parse_scope, select_scopes


@pytest.mark.parametrize(
    ("value", "scopes"),
    [
        ("", ()),
        (" ", ()),
        ("read", ("read",)),
        ("read write", ("read", "write")),
        ("write  read\twrite", ("write", "read")),
        ("repo,user, gist", ("repo", "user", "gist")),
        ("files:read https://h.example/x.y/.default", ("files:read", "https://h.example/x.y/.default")),
        (["read", "write"], ("read", "write")),
        (("read write", "admin"), ("read", "write", "admin")),
        (["a,b"], ("a,b",)),
        (["read", None, 3, ["x"], {}], ("read",)),
        ({"b", "a"}, ("a", "b")),
        (frozenset({"b", 1}), ("1", "b")),
        (None, ()),
        (0, ()),
        (b"read", ()),
        ({"read": 1}, ()),
        ('r"ead re\\ad read\x07 réad \ud800 ok', ("ok",)),
    ],
)
def test_scopes_are_read_from_what_servers_and_callers_give(value: object, scopes: tuple[str, ...]) -> None:
    """RFC 6749 section 3.3: a "list of space-delimited, case-sensitive strings"."""
    assert parse_scope(value) == scopes


def test_scopes_are_case_sensitive() -> None:
    """RFC 6749 section 3.3."""
    assert parse_scope("Read read") == ("Read", "read")


def test_no_scopes_leave_the_parameter_out() -> None:
    assert format_scope([]) is None
    assert format_scope(["a", "b", "a"]) == "a b"


def select(
    requested: str = "",
    challenged: str = "",
    previous: str = "",
    supported_by_resource: str | None = None,
    supported_by_server: str | None = None,
) -> str | None:
    return format_scope(
        select_scopes(
            requested=requested.split(),
            challenged=challenged.split(),
            previous=previous.split(),
            supported_by_resource=None if supported_by_resource is None else supported_by_resource.split(),
            supported_by_server=None if supported_by_server is None else supported_by_server.split(),
        )
    )


def test_the_challenges_scopes_come_first() -> None:
    """Specification, "Scope Selection Strategy", 1: "Use scope parameter from the initial WWW-Authenticate header
    [...], if provided".
    """
    assert select(challenged="files:read", supported_by_resource="files:read files:write admin") == "files:read"


def test_without_a_challenge_the_resources_scopes_are_asked_for() -> None:
    """Specification, "Scope Selection Strategy", 2: "use all scopes defined in scopes_supported"."""
    assert select(supported_by_resource="files:read files:write") == "files:read files:write"


def test_without_either_the_parameter_is_left_out() -> None:
    """Specification, "Scope Selection Strategy", 2: "omitting the scope parameter if scopes_supported is undefined"."""
    assert select() is None
    assert select(supported_by_resource="") is None
    assert select(supported_by_server="openid profile") is None


def test_a_challenged_scope_needs_not_be_listed_anywhere() -> None:
    """Specification, "Scope Selection Strategy": "Clients MUST NOT assume any particular set relationship between the
    challenged scope set and scopes_supported. Clients MUST treat the scopes provided in the challenge as
    authoritative".
    """
    assert select(challenged="x y", supported_by_resource="a", supported_by_server="b") == "x y"
    assert select(challenged="offline_access", supported_by_server="b") == "offline_access"


def test_only_what_the_operation_needs_is_asked_for() -> None:
    """Specification, "Scope Selection Strategy": "SHOULD follow the principle of least privilege"."""
    assert select(requested="a", supported_by_resource="a b c", supported_by_server="a b c d") == "a"


def test_a_step_up_keeps_what_was_asked_for_before() -> None:
    """Specification, "Step-Up Authorization Flow", 2: "the union of the client's previously requested scope set and
    the scopes from the current challenge"; "Scope Selection Strategy": "SHOULD include these scopes alongside any
    previously granted scopes".
    """
    assert select(challenged="files:write", previous="files:read profile") == "files:write files:read profile"


def test_what_the_caller_asked_for_is_always_in_the_union() -> None:
    assert select(requested="mine", challenged="theirs", previous="before") == "mine theirs before"
    assert select(requested="mine", supported_by_resource="other") == "mine"


def test_former_scopes_alone_do_not_silence_the_resources() -> None:
    assert select(previous="before", supported_by_resource="now") == "before now"


def test_offline_access_is_added_where_the_authorization_server_lists_it() -> None:
    """Specification, "Refresh Tokens": clients "MAY add offline_access to the scope parameter [...] when the
    Authorization Server metadata contains it in scopes_supported".
    """
    assert select(challenged="a", supported_by_server="openid offline_access") == "a offline_access"
    assert select(requested="offline_access a", supported_by_server="offline_access") == "offline_access a"


def test_offline_access_is_not_added_where_the_authorization_server_does_not_list_it() -> None:
    """Specification, "Refresh Tokens": "when the Authorization Server metadata contains it in scopes_supported"."""
    assert select(challenged="a", supported_by_server="a") == "a"
    assert select(challenged="a", supported_by_server=None) == "a"


def test_offline_access_of_a_resources_metadata_is_not_believed() -> None:
    """Specification, "Refresh Tokens": servers "SHOULD NOT include offline_access in [...] Protected Resource Metadata
    scopes_supported".
    """
    assert select(supported_by_resource="a offline_access", supported_by_server="a") == "a"
    assert select(challenged="b", previous="a offline_access", supported_by_server="a") == "b a"
    assert select(supported_by_resource="a offline_access", supported_by_server="offline_access") == "a offline_access"


def test_offline_access_alone_would_replace_the_servers_default_scopes() -> None:
    """RFC 6749 section 3.3: an omitted scope means the server's "pre-defined default value"."""
    assert select(supported_by_server="offline_access") is None


def test_the_callers_own_offline_access_stays() -> None:
    assert select(requested="a offline_access", supported_by_server="a") == "a offline_access"


_names = st.lists(st.sampled_from(["a", "b", "c", "d", "offline_access"]), max_size=4)


@given(_names, _names, _names, st.none() | _names, st.none() | _names)
def test_selection_invents_nothing_and_forgets_nothing_asked_for(
    requested: list[str],
    challenged: list[str],
    previous: list[str],
    by_resource: list[str] | None,
    by_server: list[str] | None,
) -> None:
    chosen = select_scopes(
        requested=iter(requested),
        challenged=iter(challenged),
        previous=iter(previous),
        supported_by_resource=by_resource,
        supported_by_server=by_server,
    )
    assert len(set(chosen)) == len(chosen)
    assert {*requested, *challenged} <= set(chosen)
    assert set(previous) - {"offline_access"} <= set(chosen)
    known = {*chain(requested, challenged, previous, by_resource or ())}
    assert set(chosen) - known <= {"offline_access"} & {*(by_server or ())}


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(_json)
def test_any_value_of_a_document_is_read(value: object) -> None:
    scopes = parse_scope(value)
    assert len(set(scopes)) == len(scopes)
    assert all(0x21 <= ord(c) <= 0x7E and c not in '"\\' for scope in scopes for c in scope)
    assert parse_scope(scopes) == scopes


def test_a_long_list_of_the_resource_leaves_room_in_the_address() -> None:
    """A hundred names of Google's length would be more than browsers and servers take, for want of what nobody asked for."""
    listed = [f"https://www.googleapis.com/auth/some.product.and.kind.{number}" for number in range(110)]
    chosen = select_scopes(
        requested=(), challenged=(), previous=(), supported_by_resource=listed, supported_by_server=None
    )
    assert list(chosen) == listed[: len(chosen)]
    assert 50 < len(chosen) < 110
    assert len(urlencode({"scope": " ".join(chosen)}, quote_via=quote)) < 5000
    every = select_scopes(
        requested=listed, challenged=(), previous=(), supported_by_resource=None, supported_by_server=None
    )
    assert list(every) == listed
