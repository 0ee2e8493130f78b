"""The schema of what `--json` prints, for tests: `parse` gives a document that is known to be as the schema says."""

from __future__ import annotations

import importlib
import json
from typing import Any

from mcp_login.cli.output import schema_text

__all__ = ["SCHEMA", "VALIDATOR", "is_valid", "parse", "validate"]

# Without types of its own; a distribution of types may be there or not.
_jsonschema: Any = importlib.import_module("jsonschema")

SCHEMA: dict[str, Any] = json.loads(schema_text())
VALIDATOR: Any = _jsonschema.Draft202012Validator(SCHEMA, format_checker=_jsonschema.FormatChecker())


def validate(document: Any) -> None:
    """Fail unless `document` is one of the schema's."""
    VALIDATOR.validate(document)


def is_valid(document: Any) -> bool:
    """Whether `document` is one of the schema's."""
    return bool(VALIDATOR.is_valid(document))


def parse(text: str) -> dict[str, Any]:
    """The one document that `text` is."""
    document: dict[str, Any] = json.loads(text)
    validate(document)
    return document
