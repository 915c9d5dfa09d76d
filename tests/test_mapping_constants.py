"""Constants inside other ways to fill a column, and how a wrong list is shown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from labeling.errors import ConfigError
from tests.test_mapping import BASE, RECORD, TS, decode, decoder, one, spec


def test_constants_inside_first_of_and_corrected() -> None:
    """A constant is a last resort in first_of, and a fixed part of a corrected time."""
    how = spec("scene", {"first_of": ["where", {"const": "unknown"}]})
    assert one("scene", RECORD, **how) == "unknown"
    assert one("scene", RECORD | {"where": "search"}, **how) == "search"
    parts = {"client": "ts", "received": {"path": "took", "unit": "s"}, "sent": {"const": 0}}
    later = one("event_ts", RECORD | {"took": 8.5}, **spec("event_ts", {"corrected": parts}))
    assert later == datetime.fromtimestamp((TS + 8_500) / 1000, UTC)
    with pytest.raises(ConfigError, match=r"map\.position: const 'top' is not a Int32"):
        decoder(**spec("position", {"first_of": ["slot", {"const": "top"}]}))


def test_a_wrong_list_is_shown_as_logged() -> None:
    """A text where a list belongs is shown in the reject as the record has it."""
    record = RECORD | {"experiments": "rank:a"}
    decoded = decode([record], map=BASE | {"experiments": "experiments"})
    assert decoded.rejects["detail"].to_list() == ['experiments: "rank:a" is not a list of texts']
