"""What the models of metadata documents share: tolerance for what servers get wrong, and one error for what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticUseDefault

from mcp_login.errors import InvalidResponse

from .metadata import load_json_object

if TYPE_CHECKING:
    from .message import HttpResponse

__all__ = ["MetadataDocument", "Strings", "parse_document"]


def _only_strings(value: Any) -> Any:
    # A null or a number in a list of names is no name; the others still count.
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list | tuple) else value


#: A JSON array of strings. Elements of another type are dropped.
Strings = Annotated[tuple[str, ...], BeforeValidator(_only_strings)]


class MetadataDocument(BaseModel):
    """The base of the documents: strings stay verbatim; null, and an optional field of a wrong type, are absent.

    Providers add fields of their own and get optional ones wrong; neither keeps anyone from logging in. Fields that
    aren't declared are kept as they came.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data

    @field_validator("*", mode="wrap")
    @classmethod
    def _wrong_type_is_absent(cls, value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        try:
            return validate(value)
        except ValidationError:
            field = cls.model_fields.get(info.field_name or "")
            if field is None or field.is_required():
                raise
            raise PydanticUseDefault from None


_Document = TypeVar("_Document", bound=MetadataDocument)


def parse_document(model: type[_Document], response: HttpResponse, *, what: str) -> _Document:
    """The `model` in the body of `response`.

    Raises `InvalidResponse` as `load_json_object` does, and for missing fields. The message names the fields, never
    their values.
    """
    data = load_json_object(response, what=what)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        names = ", ".join(sorted({str(e["loc"][0]) for e in error.errors(include_input=False) if e["loc"]}))
        raise InvalidResponse(
            f"the {what} lacks {names or 'a field'}, or it is of a wrong type", url=response.url
        ) from None
