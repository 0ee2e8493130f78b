"""Is an answer a metadata document, and is it sound JSON? RFC 8414 section 3.2, RFC 9728 section 3.2, RFC 8259, RFC 9110.

MCP specification 2026-07-28, Authorization Server Discovery: clients "MUST fall back" to the next well-known URI. What
counts as an absent document is our own rule.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_login.errors import InvalidResponse
from mcp_login.protocol.message import HttpResponse
from mcp_login.protocol.metadata import (
    MAX_DEPTH,
    MAX_RETRY_AFTER,
    MAX_VALUES,
    judge_metadata_response,
    load_json_object,
    retry_after,
)

URL = "https://h.example/.well-known/x"


def answer(body: bytes | str, status: int = 200, **headers: str) -> HttpResponse:
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return HttpResponse(status, URL, fields, body.encode() if isinstance(body, str) else body)


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 406, 410, 418, 451, 499])
def test_a_client_error_means_absent(status: int) -> None:
    assert judge_metadata_response(answer('{"issuer": "https://h.example"}', status)) == "absent"


@pytest.mark.parametrize(
    "body", ["", "<!doctype html><html></html>", "null", '"x"', "[]", "1", "{", '{"a": NaN}', b"\xff\xfe{"]
)
def test_a_page_that_is_no_json_object_means_absent(body: bytes | str) -> None:
    assert judge_metadata_response(answer(body, content_type="text/html")) == "absent"
    assert judge_metadata_response(answer(body, content_type="application/json")) == "absent"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520, 100, 201, 204, 206, 301, 302, 304, 307, 600])
def test_an_outage_or_a_riddle_means_unknown(status: int) -> None:
    """An outage must never be taken for a legacy server."""
    assert judge_metadata_response(answer("{}", status)) == "unknown"


@pytest.mark.parametrize("body", ["{}", '{"issuer": 3}', nested(MAX_DEPTH + 1), nested(100_000), b"\xef\xbb\xbf{}"])
def test_a_json_object_is_a_document_even_if_its_parser_will_refuse_it(body: bytes | str) -> None:
    """A document that is there but bad is no reason to guess endpoints."""
    assert judge_metadata_response(answer(body, content_type="text/plain")) == "document"


def test_a_json_object_is_loaded() -> None:
    assert load_json_object(answer('{"a": [1, "\\u00e4", null]}'), what="thing") == {"a": [1, "ä", None]}


def test_a_byte_order_mark_is_ignored() -> None:
    """RFC 8259 section 8.1: parsers "MAY ignore the presence of a byte order mark"."""
    assert load_json_object(answer(b'\xef\xbb\xbf{"a": 1}'), what="thing") == {"a": 1}


def test_duplicate_names_are_tolerated() -> None:
    """RFC 8259 section 4: "Many implementations report the last name/value pair only"."""
    assert load_json_object(answer('{"a": 1, "a": 2}'), what="thing") == {"a": 2}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hunter2",
        '{"a": "hunter2"',
        "[]",
        '"hunter2"',
        '{"a": NaN}',
        '{"a": -Infinity}',
        b"\xff",
        '{"a": 1}x',
        "9" * 5000,
        '{"a": "hunter2"}'.encode("utf-16"),
    ],
)
def test_what_is_no_json_object_is_refused_and_not_quoted(body: bytes | str) -> None:
    with pytest.raises(InvalidResponse, match="token response") as raised:
        load_json_object(answer(body), what="token response")
    assert "hunter2" not in str(raised.value)
    assert raised.value.url == URL
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_nesting_is_limited() -> None:
    load_json_object(answer(nested(MAX_DEPTH)), what="thing")
    lists = '{"a": ' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}"
    for body in (nested(MAX_DEPTH + 1), lists, nested(100_000)):
        with pytest.raises(InvalidResponse, match="nested"):
            load_json_object(answer(body), what="thing")


def test_the_number_of_values_is_limited() -> None:
    """Two bytes that become ninety in memory: a page that is no document stays one, a document is refused."""
    half = MAX_VALUES // 2
    many = answer('{"a":[' + "[]," * (half - 2) + "{}]}")
    assert len(load_json_object(many, what="thing")["a"]) == half - 1
    for values in ("[]," * half, "1," * MAX_VALUES, "{}," * half):
        for start in ("", "\ufeff", " \n"):
            more = answer(f'{start}{{"a":[{values}0]}}')
            assert judge_metadata_response(more) == "document"
            with pytest.raises(InvalidResponse, match="more than 50000 values"):
                load_json_object(more, what="thing")
    page = answer("<script>" + "{}," * MAX_VALUES + "</script>")
    assert judge_metadata_response(page) == "absent"
    with pytest.raises(InvalidResponse, match="not JSON"):
        load_json_object(page, what="thing")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), _json))
def test_every_json_object_is_read_as_it_was_written(value: dict[str, object]) -> None:
    assert load_json_object(answer(json.dumps(value)), what="thing") == value
    assert judge_metadata_response(answer(json.dumps(value))) == "document"


@given(st.binary() | st.text('{}[]":,\\ 1eEaNnu-', max_size=60).map(str.encode))
def test_any_bytes_are_judged_and_loaded_or_refused(body: bytes) -> None:
    verdict = judge_metadata_response(answer(body))
    try:
        load_json_object(answer(body), what="thing")
    except InvalidResponse:
        assert verdict == "absent"
    else:
        assert verdict == "document"


# 6 November 1994, 08:49:37: the date in all three examples of RFC 9110 section 5.6.7
NOW = 784_111_777.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("120", 120.0), (" 5 ", 5.0), ("86401", MAX_RETRY_AFTER), ("9" * 300, MAX_RETRY_AFTER)],
)
def test_a_number_of_seconds_is_the_wait(value: str, seconds: float) -> None:
    """RFC 9110 section 10.2.3: "Retry-After: 120"."""
    assert retry_after(answer("", 503, retry_after=value)) == seconds


@pytest.mark.parametrize(
    "date", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_all_three_forms_of_a_date_are_read(date: str) -> None:
    """RFC 9110 section 5.6.7: a recipient "MUST accept all three HTTP-date formats"."""
    assert retry_after(answer("", 429, retry_after=date), now=NOW - 30) == 30
    assert retry_after(answer("", 429, retry_after=date), now=NOW + 30) == 0
    assert retry_after(answer("", 429, retry_after=date), now=0) == MAX_RETRY_AFTER
    assert retry_after(answer("", 429, retry_after=date)) is None


def test_a_date_counts_from_the_answers_own_date() -> None:
    """Whose clock is right doesn't matter: both dates are of the server's."""
    dates = {"retry_after": "Sun, 06 Nov 1994 08:49:37 GMT", "date": "Sun, 06 Nov 1994 08:49:07 GMT"}
    assert retry_after(answer("", 503, **dates)) == 30
    assert retry_after(answer("", 503, **dates), now=NOW + 1e9) == 30
    assert retry_after(answer("", 503, **{**dates, "date": "yesterday"}), now=NOW - 5) == 5


def test_two_digits_of_a_year_are_at_most_fifty_years_ahead() -> None:
    """RFC 9110 section 5.6.7: "more than 50 years in the future" means "the most recent year in the past"."""
    assert retry_after(answer("", 503, retry_after="Thursday, 01-Jan-75 00:00:00 GMT"), now=NOW) == 0
    assert retry_after(answer("", 503, retry_after="Sunday, 01-Jan-45 00:00:00 GMT"), now=NOW) == 0
    assert retry_after(answer("", 503, retry_after="Saturday, 01-Jan-00 00:00:00 GMT"), now=NOW) == MAX_RETRY_AFTER
    assert retry_after(answer("", 503, retry_after="Monday, 01-Jan-44 00:00:00 GMT"), now=NOW) == MAX_RETRY_AFTER


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-1",
        "1.5",
        "soon",
        "٣",
        "1e9",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Xyz 1994 08:49:37 GMT",
    ],
)
def test_no_wait_is_read_from_anything_else(value: str) -> None:
    assert retry_after(answer("", 503, retry_after=value), now=NOW) is None


def test_without_the_field_there_is_no_wait() -> None:
    assert retry_after(answer("", 503), now=NOW) is None


@given(st.text() | st.text("0123456789:, -GMTSunov"), st.none() | st.floats(0, 4e9))
def test_any_field_gives_a_bounded_wait_or_none(value: str, now: float | None) -> None:
    wait = retry_after(HttpResponse(503, URL, (("retry-after", value),)), now)
    assert wait is None or (math.isfinite(wait) and 0 <= wait <= MAX_RETRY_AFTER)


def test_reading_json_needs_no_models() -> None:
    """A refresh must start fast."""
    code = "import sys, mcp_login.protocol.metadata\nprint('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
