"""The newcomer's path of README.md leads to an authorised call, and looks as docs/recorded/newcomer.txt shows it."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.real import newcomer, parts

__all__: list[str] = []

README = parts.ROOT / "README.md"


def test_the_path_is_short_and_ends_at_a_client_of_a_foreign_server() -> None:
    typed = newcomer.commands(README.read_text(encoding="utf-8"))
    assert len(typed) <= 6
    assert typed[-1].startswith("python examples/")
    assert any(line.startswith("mcp-login login ") for line in typed)


def test_the_record_shows_the_commands_of_the_readme() -> None:
    recorded = newcomer.RECORD.read_text(encoding="utf-8").splitlines()
    shown = [line.removeprefix("$ ") for line in recorded if line.startswith("$ ")]
    assert shown == newcomer.commands(README.read_text(encoding="utf-8"))
    assert recorded[-1] == newcomer.RESULT


@pytest.mark.real
@pytest.mark.skipif(os.name == "nt", reason="the commands are for a POSIX shell")
@pytest.mark.timeout(300)
def test_a_newcomer_with_nothing_but_the_readme_gets_to_an_authorised_call() -> None:
    if shutil.which("curl") is None or not newcomer.is_free(newcomer.PORT):
        reason = f"curl is missing, or port {newcomer.PORT} is in use"
        if parts.in_ci():
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    for name in ("chromium", "secret-service"):
        if parts.in_ci() and parts.to_be_had(name):
            parts.need(name)
    steps, home, machine = newcomer.session()
    # On a busy machine the browser takes longer than a launcher may, and the command says that it waits.
    lines = newcomer.record(steps, home, times=False).splitlines(keepends=True)
    walked = "".join(line for line in lines if not line.startswith("Waiting for you, "))
    assert newcomer.succeeded(steps), f"{machine}\n{walked}"
    if machine == newcomer.RECORDED_ON:
        # Rewritten by `python -m tests.real.newcomer --record`.
        assert walked == newcomer.RECORD.read_text(encoding="utf-8")
