"""The contract's assertions are rewritten by pytest, so that a failure shows its values."""

from __future__ import annotations

import pytest

__all__: list[str] = []

pytest.register_assert_rewrite("mcp_login.testing.storage_contract")
