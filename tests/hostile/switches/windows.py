"""The defences against asking a person again and again, and how each is switched off."""

from __future__ import annotations

from tests.hostile.attack import Switch

__all__ = ["LOGIN_BUDGET", "REST_AFTER_FAILURE", "SHARED_PAST", "STEP_UPS_IN_TURN"]

#: All objects that keep the same logins know when a person was asked.
SHARED_PAST = Switch("one past for one storage", (("mcp_login.storage.file.FileStorage.place", property(id)),))

#: A login that failed is no reason to ask again.
REST_AFTER_FAILURE = Switch("rest after a failure", (("mcp_login.obtaining.FAILURE_REST", 0.0),))

#: Requests cause a few logins in some minutes.
LOGIN_BUDGET = Switch("the budget of logins", (("mcp_login.obtaining.BUDGET", 1_000),))

#: Who waited for another's login counts it.
STEP_UPS_IN_TURN = Switch(
    "step-ups are counted in turn", (("mcp_login.renewal.Renewal._has_stepped_up", lambda *_: False),)
)
