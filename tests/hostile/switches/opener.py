"""The defences of the browser opener, and how each is switched off."""

from __future__ import annotations

import os
import re
from typing import Any

from tests.hostile.attack import Switch, nothing

__all__ = ["DEFUSED", "NO_VARIABLES", "SECRET_TAKEN_OUT", "WEB_ADDRESSES_ONLY"]


async def _no_check(*_: Any, **__: Any) -> None:
    """In place of a check that is awaited."""


#: Giving a browser nothing but https, or http on loopback, in one spelling. The metadata's reader refuses it,
#: and the request's builder, and the policy.
WEB_ADDRESSES_ONLY = Switch(
    "https only, in one spelling",
    (
        ("mcp_login.browser.opener.require_secure", nothing),
        ("mcp_login.protocol.authorization.require_secure", nothing),
        ("mcp_login.protocol.authorization_server.require_secure", nothing),
        ("mcp_login.network.http.HttpClient.check_place", _no_check),
    ),
)

#: Percent-encoding what shells, scripts and launchers read.
DEFUSED = Switch("defused characters", (("mcp_login.browser.opener.defuse", lambda url, **_: url),))

#: Percent-encoding what makes a name between two percent signs.
NO_VARIABLES = Switch("defused variables", (("mcp_login.browser.opener._IN_VARIABLE", re.compile(r"(?!)")),))

#: Taking the client's secret out of the environment before a browser inherits it.
SECRET_TAKEN_OUT = Switch("the secret leaves the environment", (("os.environ.pop", os.environ.get),))
