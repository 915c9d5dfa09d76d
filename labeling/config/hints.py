"""Tables of the configuration that refuse an unknown key and name the nearest known one.

Always holds: a table is frozen once read; a key that it does not know is an error, never
ignored; an error names the file, the table and the key.

Not promised: that all errors of a file are found at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest known word, else ``; known: a, b``.

    >>> nearest("formt", ["format", "files"])
    "; did you mean 'format'?"
    """
    names = sorted(known)
    found = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if found:
        return f"; did you mean {found[0]!r}?"
    return f"; known: {', '.join(names)}"


class Table(BaseModel):
    """A table of the configuration: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @classmethod
    def file_keys(cls) -> list[str]:
        """The keys as they are written in the file."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.file_keys():
                    raise PydanticCustomError(
                        "unknown_key",
                        "unknown key '{key}'{hint}",
                        {"key": str(key), "hint": nearest(str(key), cls.file_keys())},
                    )
        return data


def _place(loc: tuple[int | str, ...], data: Mapping[str, Any]) -> str:
    """``[[source]] 'web': map.event_ts`` for a location inside the file's data."""
    if loc[:1] == ("source",) and len(loc) > 1 and isinstance(loc[1], int):
        source = data["source"][loc[1]]
        named = isinstance(source, Mapping) and isinstance(source.get("name"), str)
        label = repr(source["name"]) if named else f"number {loc[1] + 1}"
        rest = ".".join(str(part) for part in loc[2:])
        return f"[[source]] {label}" + (f": {rest}" if rest else "")
    return ".".join(str(part) for part in loc)


def explain(error: ValidationError, file: str, data: Mapping[str, Any]) -> str:
    """One line for the first error of a file: file, place, what is wrong."""
    first = error.errors(include_url=False)[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    place = _place(first["loc"], data)
    return f"{file}: {place}: {message}" if place else f"{file}: {message}"
