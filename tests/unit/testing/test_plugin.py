"""The pytest plugin in a project of somebody else: what a failure tells, what is listed, what is loaded."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__: list[str] = []

FIXTURES = ["isolated", "storage", "clock", "person", "server", "servers", "signed_in"]


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """What pytest says in a process of its own. Hypothesis, which is for our tests only, takes the longest to load."""
    return pytester.runpytest_subprocess("-p", "no:hypothesispytest", *arguments)


def test_a_failure_tells_what_was_asked_and_seen_without_secrets(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import mcp_login.sync
        from mcp_login.testing import Fault

        def test_fails(mcp_login_server):
            mcp_login.sync.login(mcp_login_server.url)
            mcp_login_server.faults.authorization_endpoint = Fault(status=400, body=b"<h1>Out of order</h1>")
            mcp_login.sync.login(mcp_login_server.url, force=True)

        def test_reaches_nobody(mcp_login_server):
            mcp_login_server.reconfigure(server_metadata_overrides={"authorization_endpoint": "http://127.0.0.1:1/"})
            mcp_login.sync.login(mcp_login_server.url)

        def test_passes(mcp_login_server):
            mcp_login.sync.login(mcp_login_server.url)
        """
    )
    result = run(pytester, "--tb=line", "-rA")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*- mcp-login -*",
            "http://127.0.0.1:*/mcp was asked:",
            "  <mcp: * -> 401>",
            "  <registration: POST /register * -> 201>",
            "  <authorization: GET /authorize *'state': '[*][*][*]'* -> 200>",
            "  <token: POST /token * -> 200>",
            "The person (approve) was shown:",
            "  HTTP 200: *",
            "  HTTP 400: Out of order",
            "*- mcp-login -*",
            "The person (approve) was shown:",
            "  URLError: *",
        ]
    )
    text = result.stdout.str()
    assert text.count("was asked:") == 2
    assert "LoginTimeout" in text
    assert "access-" not in text
    assert "refresh-" not in text


def test_markers_and_fixtures_are_described(pytester: pytest.Pytester) -> None:
    listed = run(pytester, "--markers").stdout.str() + run(pytester, "--fixtures").stdout.str()
    for name in ("server", "person", "signed_in"):
        assert f"@pytest.mark.mcp_login_{name}(" in listed
    for name in FIXTURES:
        assert f"mcp_login_{name} -- " in listed
        assert f"mcp_login_{name}: no docstring" not in listed


def test_without_the_extra_a_server_names_it_and_the_rest_works(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('import sys\nsys.modules["starlette"] = sys.modules["uvicorn"] = None')
    pytester.makepyfile(
        """
        def test_server(mcp_login_server): pass
        def test_rest(mcp_login_storage, mcp_login_person, mcp_login_clock): pass
        """
    )
    result = run(pytester)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*needs starlette, which is in the extra `testing`*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_loading_the_plugin_loads_nothing_besides_pytest_and_the_standard_library() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import mcp_login.testing.plugin;"
        "new = {name for name in set(sys.modules) - before if name.partition('.')[0] not in sys.stdlib_module_names};"
        "print(*sorted(new))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout.split() == ["mcp_login", "mcp_login.testing", "mcp_login.testing.plugin"]


def test_what_the_marker_of_a_login_would_drop_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.mcp_login_signed_in("work")
        def test_login(): pass
        """
    )
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*TypeError: the marker mcp_login_signed_in takes keywords only, such as account=*"])
