"""WWW-Authenticate: RFC 9110 section 11, RFC 6750 section 3, RFC 9728 section 5.1, the MCP specification's examples.

MCP specification 2026-07-28, Authorization Server Discovery: "MCP clients MUST be able to parse WWW-Authenticate
headers and respond appropriately to HTTP 401 Unauthorized responses from the MCP server."
"""

from __future__ import annotations

import sys
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.protocol.challenge import MAX_LENGTH, Challenge, bearer_challenge, parse_challenges

Plain = tuple[str, dict[str, str], str | None]


def plain(*values: str) -> list[Plain]:
    return [(c.scheme, dict(c.params), c.token68) for c in parse_challenges(values)]


# The documents' own examples


def test_the_specifications_401_example_is_read() -> None:
    """Authorization, "Scope Selection Strategy", "Example 401 response with scope guidance" (a folded field)."""
    value = (
        'Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource",\r\n'
        '                         scope="files:read"'
    )
    challenge = bearer_challenge([value])
    assert challenge is not None
    assert challenge.resource_metadata == "https://mcp.example.com/.well-known/oauth-protected-resource"
    assert challenge.scopes == ("files:read",)
    assert challenge.error is None


def test_the_specifications_403_example_is_read() -> None:
    """Authorization, "Runtime Insufficient Scope Errors", "Example insufficient scope response"."""
    value = (
        'Bearer error="insufficient_scope", scope="files:write", '
        'resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource", '
        'error_description="File write permission required for this operation"'
    )
    challenge = bearer_challenge([value])
    assert challenge is not None
    assert challenge.error == "insufficient_scope"
    assert challenge.scopes == ("files:write",)
    assert challenge.error_description == "File write permission required for this operation"
    assert challenge.resource_metadata == "https://mcp.example.com/.well-known/oauth-protected-resource"


def test_the_example_of_rfc_9110_is_read() -> None:
    """RFC 9110 section 11.6.1: a quoted comma, a quoted quote, two challenges in one line."""
    value = r'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\""'
    assert plain(value) == [
        ("basic", {"realm": "simple"}, None),
        ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}, None),
    ]


def test_the_examples_of_rfc_6750_are_read() -> None:
    """RFC 6750 section 3."""
    assert plain('Bearer realm="example"') == [("bearer", {"realm": "example"}, None)]
    challenge = bearer_challenge(
        ['Bearer realm="example", error="invalid_token", error_description="The access token expired"']
    )
    assert challenge is not None
    assert (challenge.realm, challenge.error, challenge.error_description) == (
        "example",
        "invalid_token",
        "The access token expired",
    )


def test_the_example_of_rfc_9728_is_read() -> None:
    """RFC 9728 section 5.1."""
    value = 'Bearer resource_metadata="https://resource.example.com/.well-known/oauth-protected-resource"'
    challenge = bearer_challenge([value])
    assert challenge is not None
    assert challenge.resource_metadata == "https://resource.example.com/.well-known/oauth-protected-resource"


def test_the_example_of_rfc_9449_is_read() -> None:
    """RFC 9449 section 7.1: DPoP beside Bearer; Bearer is preferred here, DPoP counts where it stands alone."""
    dpop = 'DPoP error="invalid_token", error_description="Invalid DPoP key binding", algs="ES256"'
    assert plain(dpop)[0][1]["algs"] == "ES256"
    alone = bearer_challenge([dpop])
    assert alone is not None
    assert alone.scheme == "dpop"
    beside = bearer_challenge([dpop, "Bearer"])
    assert beside is not None
    assert beside.scheme == "bearer"


# RFC 9110 section 11: the grammar


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), []),
        (("",), []),
        ((" , ,, ",), []),
        (("Bearer",), [("bearer", {}, None)]),
        (("Bearer,Basic",), [("bearer", {}, None), ("basic", {}, None)]),
        (("Bearer ,, Basic ,",), [("bearer", {}, None), ("basic", {}, None)]),
        (("Bearer , a=1",), [("bearer", {"a": "1"}, None)]),
        (("bEaReR REALM=Ex",), [("bearer", {"realm": "Ex"}, None)]),
        (('Bearer a = "1" ,\tb\t=\t2',), [("bearer", {"a": "1", "b": "2"}, None)]),
        (('Bearer a=""',), [("bearer", {"a": ""}, None)]),
        (("Negotiate", 'Bearer realm="x"'), [("negotiate", {}, None), ("bearer", {"realm": "x"}, None)]),
        (("Negotiate abc+/-._~==",), [("negotiate", {}, "abc+/-._~==")]),
        (("Negotiate abc= , Bearer a=1",), [("negotiate", {}, "abc="), ("bearer", {"a": "1"}, None)]),
        (("Negotiate a=, Bearer b=1",), [("negotiate", {}, "a="), ("bearer", {"b": "1"}, None)]),
        (
            ("Digest a=1, b=2, NTLM, Bearer c=3, d=4",),
            [("digest", {"a": "1", "b": "2"}, None), ("ntlm", {}, None), ("bearer", {"c": "3", "d": "4"}, None)],
        ),
        (('A b="1",C d="2",E f="3"',), [("a", {"b": "1"}, None), ("c", {"d": "2"}, None), ("e", {"f": "3"}, None)]),
        ((r'Bearer a="\\\"\,\x"',), [("bearer", {"a": r"\",x"}, None)]),
    ],
)
def test_the_grammar_of_rfc_9110_section_11(values: tuple[str, ...], expected: list[Plain]) -> None:
    assert plain(*values) == expected


def test_lines_mean_what_they_mean_joined_by_a_comma() -> None:
    """RFC 9110 section 5.2: "the combined field value"."""
    assert plain('Bearer realm="a"', 'error="b"') == plain('Bearer realm="a", error="b"')


@pytest.mark.parametrize(
    "value",
    [
        'Basic realm="Bearer resource_metadata=\\"https://evil.example\\""',
        'Basic realm="x, Bearer resource_metadata=https://evil.example"',
        'Basic realm="\\", Bearer a=", x="Bearer"',
        'Digest realm=Bearer, qop="Bearer"',
        'Negotiate Bearer, resource_metadata="https://evil.example"',
        'Unterminated realm="x, Bearer resource_metadata="https://evil.example',
    ],
)
def test_a_challenge_in_quotes_is_not_read(value: str) -> None:
    assert bearer_challenge([value]) is None


@pytest.mark.parametrize(
    "value",
    [
        'Bearer realm="a", Other resource_metadata="https://evil.example"',
        'Other resource_metadata="https://evil.example", Bearer realm="a"',
        'Bearer, Other resource_metadata="https://evil.example", error="e"',
        'Bearer error_description="resource_metadata=https://evil.example, resource_metadata=1"',
        'Bearer xresource_metadata="https://evil.example"',
        'Bearer resource_metadata_="https://evil.example"',
        'Bearer abc=, resource_metadata="https://evil.example"',
        'Bearer realm="a", (junk) resource_metadata="1", resource_metadata="https://evil.example"',
        'Bearer realm=a Other x="1", resource_metadata="https://evil.example"',
        'Bearer Other resource_metadata="https://evil.example"',
        'Bearer Other x=1, resource_metadata="https://evil.example"',
        'Bearer realm="a" "resource_metadata=https://evil.example"',
        'Bearer realm="a" x"y, resource_metadata=https://evil.example"',
        'Bearer realm="a, resource_metadata=https://evil.example',
        'resource_metadata="https://evil.example", Bearer realm="a"',
    ],
)
def test_a_parameter_is_never_read_from_elsewhere(value: str) -> None:
    challenge = bearer_challenge([value])
    assert challenge is not None
    assert challenge.resource_metadata is None


def test_the_first_of_duplicate_parameters_wins() -> None:
    """RFC 9110 section 11.2: a parameter name "MUST only occur once per challenge"; later ones don't count."""
    assert plain('Bearer scope="a", Scope="b", SCOPE=c') == [("bearer", {"scope": "a"}, None)]


# What servers get wrong


@pytest.mark.parametrize(
    ("value", "params"),
    [
        (
            "Bearer resource_metadata=https://h.example/.well-known/x, error=e",
            {"resource_metadata": "https://h.example/.well-known/x", "error": "e"},
        ),
        ('Bearer realm="x" error="y"', {"realm": "x", "error": "y"}),
        ('Bearer scope=a b, error="y"', {"scope": "a", "error": "y"}),
        ('Bearer realm=x, scope=, error="y"', {"realm": "x", "error": "y"}),
        ('Bearer realm="x" junk, error="y"', {"realm": "x", "error": "y"}),
        ('Bearer realm="x"; y, error="z"', {"realm": "x", "error": "z"}),
    ],
)
def test_what_servers_get_wrong_is_read_where_its_meaning_is_certain(value: str, params: dict[str, str]) -> None:
    assert plain(value) == [("bearer", params, None)]


def test_a_string_that_does_not_end_is_dropped_with_its_parameter() -> None:
    assert plain('Bearer realm="x", error="y', "Basic realm=z") == [
        ("bearer", {"realm": "x"}, None),
        ("basic", {"realm": "z"}, None),
    ]


def test_after_what_can_not_be_read_the_next_challenge_is() -> None:
    assert plain('"quoted" x=1, y=2, @@@ , Bearer a=1') == [("bearer", {"a": "1"}, None)]


# Which challenge counts


def test_of_several_bearer_challenges_the_one_that_says_most_counts() -> None:
    values = [
        "Negotiate",
        'Bearer realm="x", Bearer scope="a"',
        'Bearer error="e"',
        'Bearer resource_metadata="https://h.example"',
        "Basic",
    ]
    for count, expected in (
        (1, None),
        (2, {"scope": "a"}),
        (3, {"error": "e"}),
        (5, {"resource_metadata": "https://h.example"}),
    ):
        challenge = bearer_challenge(values[:count])
        assert (None if challenge is None else dict(challenge.params)) == expected


def test_of_equal_challenges_the_first_counts() -> None:
    challenge = bearer_challenge(['Bearer scope="a", Bearer scope="b"'])
    assert challenge is not None
    assert challenge.scopes == ("a",)


def test_a_challenge_without_bearer_or_dpop_is_not_ours() -> None:
    assert bearer_challenge(["Negotiate, Basic realm=x"]) is None
    assert bearer_challenge([]) is None


def test_an_empty_metadata_url_is_none() -> None:
    challenge = bearer_challenge(['Bearer resource_metadata=""'])
    assert challenge is not None
    assert challenge.resource_metadata is None


def test_scopes_are_separated_by_spaces_and_each_counts_once() -> None:
    """RFC 6750 section 3: "a space-delimited list of case-sensitive scope values"."""
    assert Challenge("bearer", {"scope": "a  B a b"}).scopes == ("a", "B", "b")
    assert Challenge("bearer").scopes == ()


def test_a_challenge_can_not_be_changed() -> None:
    challenge = parse_challenges(["Bearer a=1"])[0]
    with pytest.raises(AttributeError):
        challenge.scheme = "basic"  # type: ignore[misc]
    with pytest.raises(TypeError):
        challenge.params["a"] = "2"  # type: ignore[index]


# Any input, in linear time


@given(st.lists(st.text() | st.text('Bearer =",\\\t a1/')))
def test_any_text_is_read_without_an_error(values: list[str]) -> None:
    for challenge in parse_challenges(values):
        assert challenge.scheme == challenge.scheme.lower() != ""
        assert all(name == name.lower() for name in challenge.params)
        assert not (challenge.params and challenge.token68)
    bearer_challenge(values)


_token = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=8)
_value = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=12)
_params = st.dictionaries(_token.map(str.lower), _value, min_size=1, max_size=4)
_token68 = st.from_regex(r"[A-Za-z0-9\-._~+/]{1,8}={0,2}", fullmatch=True)
_challenge = st.tuples(_token, st.one_of(st.none(), _token68, _params))


def _write(challenge: tuple[str, str | dict[str, str] | None], quote_all: bool) -> str:
    scheme, rest = challenge
    if not isinstance(rest, dict):
        return scheme if rest is None else f"{scheme} {rest}"
    escaped = (("".join("\\" + c if c in '\\"' or quote_all else c for c in v)) for v in rest.values())
    return f"{scheme} " + " , ".join(f'{name}="{value}"' for name, value in zip(rest, escaped, strict=True))


@given(st.lists(_challenge, min_size=1, max_size=5), st.booleans(), st.booleans())
def test_what_was_written_by_the_grammar_is_read_back(
    challenges: list[tuple[str, str | dict[str, str] | None]], one_line: bool, quote_all: bool
) -> None:
    lines = [_write(challenge, quote_all) for challenge in challenges]
    expected = [(s.lower(), r if isinstance(r, dict) else {}, r if isinstance(r, str) else None) for s, r in challenges]
    assert plain(*([", ".join(lines)] if one_line else lines)) == expected


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a ",
        "a=",
        'a="',
        '"',
        '\\"',
        '"\\',
        ",",
        ", ",
        "a,",
        "a b,",
        "=",
        "a =",
        "a=b ",
        "a\t",
        " ",
        'a="b" ',
        'a="b",',
        '"a" ',
        "a b=c ",
        "(",
        "A b c ",
    ],
)
def test_time_is_linear_in_the_length(unit: str) -> None:
    def seconds(length: int) -> float:
        value = "Bearer " + unit * (length // len(unit))
        start = thread_time()  # of the processor, whoever else it has to serve
        parse_challenges([value[:MAX_LENGTH]])
        return thread_time() - start

    # Quadratic time would be minutes here. Where coverage traces each line, all takes some times as long.
    assert min(seconds(MAX_LENGTH) for _ in range(2)) < (1.0 if sys.gettrace() is None else 4.0)


def test_what_is_longer_than_the_limit_is_not_read() -> None:
    assert plain("Bearer a=1", "Basic " + "x" * MAX_LENGTH, "Late a=1") == [("bearer", {"a": "1"}, None)]
