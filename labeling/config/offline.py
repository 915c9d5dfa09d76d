"""``[offline]`` and ``[[webhook]]``: where complete hours go.

Always holds: a webhook has a URL of http or https; rules are named as ``name`` or ``name@version``.

Not promised: that anybody answers there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from labeling.config.hints import Table
from labeling.config.source import DurationMs, OneOrMore


def _path(value: Any) -> Any:
    return Path(value) if isinstance(value, str) else value


class OfflineConfig(Table):
    """The ``[offline]`` table: what ``labeling export`` writes.

    ``path`` is the folder, relative to the configuration's; ``rules`` are those exported, sample
    rules among them, none named: all; ``row_group`` is the rows of a row group.
    """

    path: Annotated[Path, BeforeValidator(_path)] = Path("offline")
    rules: OneOrMore = ()
    row_group: Annotated[int, Field(ge=1)] = 65_536


class Webhook(Table):
    """A ``[[webhook]]``: who is told of markers, over HTTP.

    ``url`` gets each marker as JSON by POST; ``rules`` none named: all; ``states`` those of
    markers; ``timeout_ms`` of one try.
    """

    url: str
    rules: OneOrMore = ()
    states: OneOrMore = ("complete", "settled", "republished")
    timeout_ms: Annotated[DurationMs, Field(alias="timeout", ge=1)] = 10_000

    @field_validator("url")
    @classmethod
    def _http(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url {url!r}: write http://... or https://...")
        return url

    @field_validator("states")
    @classmethod
    def _known(cls, states: tuple[str, ...]) -> tuple[str, ...]:
        known = ("complete", "settled", "republished")
        for state in states:
            if state not in known:
                raise ValueError(f"states: no {state!r}; there are {', '.join(known)}")
        return states
