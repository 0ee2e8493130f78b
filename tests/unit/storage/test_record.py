"""What is kept of a login can be read again, and nothing else passes for it.

Specification, "Authorization Server Binding" (client registration): client credentials "MUST NOT" be used with another
authorization server than the one that issued them: a record whose client belongs elsewhere is refused.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.errors import StorageError
from mcp_login.protocol.client import ClientInformation
from mcp_login.storage.record import Record, client_key, dump_client, parse_client, record_key

__all__: list[str] = []

SECRET = "s3cr3t-value-that-must-not-show"
CLIENT = ClientInformation("https://as.example.com", "client-1", "dynamic", client_secret=SECRET)
RECORD = Record(
    server_url="https://mcp.example.com/mcp",
    issuer="https://as.example.com",
    client=CLIENT,
    token_endpoint="https://as.example.com/token",
    access_token=SECRET,
    resource="https://mcp.example.com/",
    refresh_token=SECRET,
    expires_at=1_800_000_000.5,
    granted_scopes=("files:read",),
)

VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
SECONDS = st.floats(min_value=-1e14, max_value=1e14)
SCOPES = st.lists(VISIBLE, max_size=3).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | SECONDS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    issuer = draw(VISIBLE)
    client = ClientInformation(
        issuer,
        draw(TEXT),
        draw(st.sampled_from(("pre_registered", "metadata_document", "dynamic"))),
        client_secret=draw(st.none() | TEXT),
        client_secret_expires_at=draw(st.none() | SECONDS),
        token_endpoint_auth_method=draw(st.sampled_from(("none", "client_secret_basic", "client_secret_post"))),
        redirect_uri=draw(st.none() | st.integers(1, 65535).map("http://127.0.0.1:{}/callback".format)),
    )
    return Record(
        server_url=draw(VISIBLE),
        issuer=issuer,
        client=client,
        token_endpoint=draw(VISIBLE),
        access_token=draw(VISIBLE),
        resource=draw(VISIBLE),
        account=draw(st.none() | st.just("") | TEXT),
        refresh_token=draw(st.none() | VISIBLE),
        expires_at=draw(st.none() | SECONDS),
        obtained_at=draw(SECONDS),
        refused_at=draw(st.none() | SECONDS),
        granted_scopes=draw(SCOPES),
        requested_scopes=draw(SCOPES),
        revocation_endpoint=draw(st.none() | VISIBLE),
        sends_resource=draw(st.booleans()),
        address_space=draw(st.sampled_from(("public", "private", "link_local", "loopback"))),
        extra={f"later_{name}": value for name, value in draw(st.dictionaries(TEXT, JSON, max_size=2)).items()},
    )


def refusal(text: str) -> StorageError:
    with pytest.raises(StorageError) as caught:
        Record.parse(text)
    return caught.value


def shown(error: BaseException | None) -> str:
    """All that an error and its whole chain hold, attributes too (a JSONDecodeError keeps the document in one)."""
    text = ""
    while error is not None:
        text += f"{error!r} {error} {vars(error)} {getattr(error, 'doc', '')}"
        error = error.__cause__ or error.__context__
    return text


def changed(**fields: Any) -> str:
    return json.dumps({**json.loads(RECORD.dump()), **fields})


@given(records())
def test_what_was_dumped_is_parsed_to_the_same_record(record: Record) -> None:
    text = record.dump()
    assert text.isascii()
    assert Record.parse(text) == record


@given(
    st.text()
    | JSON.map(json.dumps)
    | st.dictionaries(st.sampled_from(list(json.loads(RECORD.dump()))), JSON).map(json.dumps)
)
def test_any_other_text_is_refused_with_a_storage_error(text: str) -> None:
    refusal(text)


@given(st.sampled_from(list(json.loads(RECORD.dump()))), JSON)
def test_a_record_with_one_field_changed_is_a_record_or_refused(name: str, value: object) -> None:
    error: StorageError | None = None
    try:
        record = Record.parse(changed(**{name: value}))
        assert Record.parse(record.dump()) == record
    except StorageError as raised:
        error = raised
    assert SECRET not in shown(error)


@given(st.integers(0, len(RECORD.dump()) - 1))
def test_a_torn_record_is_refused_and_not_quoted(end: int) -> None:
    assert SECRET not in shown(refusal(RECORD.dump()[:end]))


@pytest.mark.parametrize("name", ["server_url", "issuer", "client", "token_endpoint", "access_token", "resource"])
def test_a_record_without_a_necessary_field_is_refused(name: str) -> None:
    data = json.loads(RECORD.dump())
    del data[name]
    error = refusal(json.dumps(data))
    assert name in str(error)
    assert SECRET not in shown(error)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("access_token", ""),
        ("access_token", f"{SECRET}\r\nX-Injected: 1"),
        ("access_token", f"{SECRET}\u00e9"),
        ("refresh_token", f"{SECRET}\n"),
        ("refresh_token", 1),
        ("server_url", "https://mcp.example.com/ x"),
        ("account", f"{SECRET}\ud800"),
        ("expires_at", "1800000000"),
        ("expires_at", True),
        ("expires_at", 10**400),
        ("expires_at", 1e300),
        ("obtained_at", None),
        ("granted_scopes", "files:read"),
        ("granted_scopes", ["files:read", 1]),
        ("sends_resource", 1),
        ("address_space", "somewhere"),
        ("client", None),
        ("client", []),
        ("client", {}),
    ],
)
def test_a_field_of_another_kind_is_refused_and_not_quoted(name: str, value: object) -> None:
    error = refusal(changed(**{name: value}))
    assert name in str(error)
    assert SECRET not in shown(error)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mechanism", "guessed"),
        ("token_endpoint_auth_method", SECRET),
        ("client_secret", 1),
        ("client_secret_expires_at", "0"),
        # Its host and port are read, so that the listener is opened there again.
        ("redirect_uri", f"http://[::1/{SECRET}"),
        ("redirect_uri", "http://127.0.0.1:99999/callback"),
    ],
)
def test_a_client_field_of_another_kind_is_refused_and_not_quoted(name: str, value: object) -> None:
    client = {**json.loads(RECORD.dump())["client"], name: value}
    error = refusal(changed(client=client))
    assert name in str(error)
    assert SECRET not in shown(error)


def test_a_client_of_another_issuer_is_refused() -> None:
    """Specification, "Authorization Server Binding"."""
    client = {**json.loads(RECORD.dump())["client"], "issuer": "https://other.example.com"}
    assert "issuer" in str(refusal(changed(client=client)))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_time_that_is_no_number_of_seconds_is_refused(number: str) -> None:
    refusal(RECORD.dump().replace("1800000000.5", number))


def test_deeply_nested_text_is_refused() -> None:
    refusal("[" * 100_000)


@pytest.mark.parametrize("written", [None, "1", 1.0, True, 0, -1])
def test_a_text_without_our_format_number_is_another_programs(written: object) -> None:
    assert "another program" in str(refusal(changed(format=written)))


def test_a_newer_format_is_named() -> None:
    assert "newer version" in str(refusal(changed(format=2)))


def test_what_a_newer_version_added_survives_being_saved_by_this_one() -> None:
    client = {**json.loads(RECORD.dump())["client"], "jwks_uri": "https://as.example.com/jwks"}
    record = Record.parse(changed(dpop_key="kept", client=client))
    again = json.loads(dataclasses.replace(record, access_token="new").dump())
    assert again["dpop_key"] == "kept"
    assert again["client"]["jwks_uri"] == "https://as.example.com/jwks"


@pytest.mark.parametrize(
    "fields", [{"expires_at": float("nan")}, {"access_token": "a\nb"}, {"extra": {"x": object()}}, {"issuer": "other"}]
)
def test_what_could_not_be_read_back_is_not_dumped(fields: dict[str, Any]) -> None:
    with pytest.raises(StorageError) as caught:
        dataclasses.replace(RECORD, **fields).dump()
    assert SECRET not in shown(caught.value)


def test_no_secret_is_shown() -> None:
    assert SECRET not in repr(RECORD)


def test_expiry_is_told_from_the_time_that_is_given() -> None:
    assert RECORD.expires_at is not None
    assert RECORD.expires_within(60, RECORD.expires_at - 60)
    assert not RECORD.expires_within(60, RECORD.expires_at - 61)
    assert not dataclasses.replace(RECORD, expires_at=None).expires_within(60, 1e12)


def test_keys_of_records_accounts_and_clients_differ() -> None:
    url = "https://mcp.example.com"
    assert len({record_key(url, None), record_key(url, ""), record_key(url, "work"), client_key(url)}) == 4
    assert RECORD.key == record_key(RECORD.server_url, None)


@given(records())
def test_client_information_is_parsed_to_what_was_dumped(record: Record) -> None:
    assert parse_client(dump_client(record.client)) == record.client


@given(st.text() | JSON.map(json.dumps))
def test_any_other_text_is_no_client_information(text: str) -> None:
    with pytest.raises(StorageError):
        parse_client(text)
