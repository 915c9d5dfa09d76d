"""One record into events: blocks, lists, ids, types, and a fault costing its own event only."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from labeling.config import parse_config
from labeling.errors import ConfigError
from labeling.io.decode import Decoded, Decoder, FieldBatch, RecordBatch
from labeling.io.files import positions
from labeling.io.mapping_view import STRIDE
from labeling.model.event import event_schema
from labeling.model.reject import REJECT_SCHEMA

TS = 1_700_000_000_000
BASE: dict[str, Any] = {"event_ts": "ts", "event_type": "type", "user_id": "user"}
RECORD: dict[str, Any] = {"ts": TS, "type": "click", "user": "u1"}
EXTRA = {"duration_ms": "i64", "seen_ts": "datetime"}


def decoder(**source: Any) -> Decoder:
    """A decoder of a source with that configuration."""
    data = {"columns": EXTRA, "source": [{"name": "web", "files": "x", "map": BASE, **source}]}
    config = parse_config(data, Path("/p/labeling.toml"))
    return Decoder(config.sources[0], config.columns, max_clock_skew_ms=1000)


def decode(records: list[Any], *, now: datetime | None = None, **source: Any) -> Decoded:
    """Those records (objects, or bytes as they are) decoded; offsets count from 1."""
    raw = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in records]
    places = positions("t", range(1, len(raw) + 1))
    decoded = decoder(**source).decode(RecordBatch(raw, places), now)
    assert dict(decoded.events.schema) == event_schema(EXTRA) | {
        name: decoded.events.schema[name]
        for name in ("source", "cluster", "topic", "partition", "offset", "index", "broker_ts")
    }
    assert dict(decoded.rejects.schema) == dict(REJECT_SCHEMA)
    assert decoded.records == len(raw)
    return decoded


def told(decoded: Decoded) -> list[tuple[Any, ...]]:
    """Offset, index and reason of each reject."""
    return decoded.rejects.select("offset", "index", "reason").rows()


def one(column: str, record: dict[str, Any], **source: Any) -> Any:
    """The value of a column in the one event of a record."""
    decoded = decode([record], **source)
    assert decoded.rejects.is_empty(), decoded.rejects["detail"].to_list()
    return decoded.events[column].item()


def spec(column: str, value: Any) -> dict[str, Any]:
    """The base map with one further column."""
    return {"map": {**BASE, column: value}}


def test_ids_from_position() -> None:
    """Without an id of its own an event is named by its record's position."""
    decoded = decode([RECORD, RECORD])
    assert decoded.events["event_id"].to_list() == ["t/0/1", "t/0/2"]
    place = positions("t", [7]).with_columns(cluster=pl.lit("c"))
    batch = RecordBatch([json.dumps(RECORD).encode()], place)
    assert decoder().decode(batch).events["event_id"].item() == "c/t/0/7"


def test_paths_and_ways() -> None:
    """Nested paths, dots in names, constants, first_of, none and the record's position."""
    record = {**RECORD, "ctx": {"a.b": {"c": 5}}, "device": "d1"}
    assert one("item_id", record, **spec("item_id", r"ctx.a\.b.c")) == "5"
    assert one("item_id", record, **spec("item_id", "ctx.x.y")) is None
    assert one("scene", record, **spec("scene", {"const": "home"})) == "home"
    assert one("position", record, **spec("position", {"const": 3})) == 3
    assert one("platform", record, **spec("platform", {"first_of": ["os", "device"]})) == "d1"
    assert one("scene", record, **spec("scene", "@topic")) == "t"
    rest = one("props", record, **spec("props", "*"))
    assert json.loads(rest) == {"ctx": {"a.b": {"c": 5}}, "device": "d1"}
    overlay = [{"map": {"scene": {"none": True}}}]
    assert one("scene", record, **spec("scene", "device"), emit=overlay) is None


def test_first_of_takes_what_is_there() -> None:
    """The first alternative that is there counts, even where it cannot be read."""
    how = spec("value", {"first_of": [{"path": "a", "unit": "micro"}, "b"]})
    assert one("value", {**RECORD, "a": 1.5}, **how) == 1_500_000
    assert one("value", {**RECORD, "a": None, "b": 2}, **how) == 2
    bad = decode([{**RECORD, "a": "x", "b": 2}], **how)
    assert told(bad) == [(1, 0, "wrong_type")]
    assert bad.rejects["detail"].item() == "value: 'x' is not a whole number in range"


def test_corrected_time() -> None:
    """The client's time moved by the server's clock; without all three it is not there."""
    how: dict[str, Any] = {"client": "ts", "sent": {"path": "sent", "unit": "s"}, "received": "got"}
    record = {**RECORD, "sent": 1_700_000_100, "got": TS + 40_000}
    time = datetime.fromtimestamp(TS / 1000, UTC)
    assert one("event_ts", record, **spec("event_ts", {"corrected": how})) == time - timedelta(
        minutes=1
    )
    assert told(decode([RECORD], **spec("event_ts", {"corrected": how}))) == [
        (1, 0, "missing_field")
    ]
    fallback = {"first_of": [{"corrected": how}, "ts"]}
    assert one("event_ts", RECORD, **spec("event_ts", fallback)) == time
    wrong = decode([{**record, "sent": "x"}], **spec("event_ts", {"corrected": how}))
    assert told(wrong) == [(1, 0, "bad_timestamp")]


def test_derived_ids() -> None:
    """A derived id depends on the columns alone: repeats are the same event wherever they lie."""
    how = spec("event_id", {"derive": ["user_id", "event_ts", "event_type"]})
    decoded = decode([RECORD, {**RECORD, "x": 1}, {**RECORD, "ts": TS + 1}], **how)
    first, second, third = decoded.events["event_id"]
    assert first == second != third
    assert first == "13418221952800903854"
    hashed = spec("request_id", {"hash_of": ["a", "b"]})
    values: list[dict[str, Any]] = [
        {"a": "x", "b": "y"},
        {"a": "xy"},
        {"a": "x", "b": "y", "c": 1},
        {},
    ]
    ids = decode([{**RECORD, **v} for v in values], **hashed).events["request_id"].to_list()
    assert ids[0] == ids[2] != ids[1]
    assert ids[3] is None


def test_types() -> None:
    """Logged names become ours; others pass, or are rejects where only mapped ones are wanted."""
    records = [RECORD, {**RECORD, "type": "pv"}]
    assert decode(records, types={"pv": "view_start"}).events["event_type"].to_list() == [
        "click",
        "view_start",
    ]
    only = decode(records, types={"pv": "view_start"}, only_mapped=True)
    assert told(only) == [(1, 0, "unmapped_type")]
    assert only.rejects["detail"].item() == "event_type: 'click' is not in types"


def test_null_tokens() -> None:
    """Null tokens are nulls in every column; an empty identity is missing whatever they are."""
    record = {**RECORD, "item": "NULL"}
    how = spec("item_id", "item")
    assert one("item_id", record, **how) == "NULL"
    assert one("item_id", record, **how, null_tokens=["", "NULL"]) is None
    assert told(decode([{**RECORD, "user": ""}], null_tokens=[])) == [(1, 0, "missing_field")]


def test_required_fields() -> None:
    """Each of the identity and the type must be there; the detail names the first that is not."""
    records = [{k: v for k, v in RECORD.items() if k != gone} for gone in RECORD]
    decoded = decode(records, **spec("event_id", "user"))
    assert [row[2] for row in told(decoded)] == ["missing_field"] * 3
    assert [d.split(":")[0] for d in decoded.rejects["detail"]] == [
        "event_ts",
        "event_type",
        "event_id",
    ]


SHOWN = {
    "rid": "r1", "ts": TS, "user": "u1",
    "items": [{"id": "a", "who": "x"}, {"id": "b"}, {"id": "c", "user": "other"}],
    "clicked": ["b"], "read_s": 2.5,
}  # fmt: skip
LIST_SOURCE: dict[str, Any] = {
    "map": {"event_id": "rid", "event_ts": "ts", "user_id": "user"},
    "emit": [
        {
            "explode": "items",
            "map": {
                "event_type": {"const": "impression"},
                "item_id": "element.id",
                "author_id": {"first_of": ["element.who", "parent.user"]},
            },
        },
        {
            "explode": "clicked",
            "map": {
                "event_type": {"const": "click"},
                "item_id": "element",
                "position": {"none": True},
            },
        },
        {
            "explode": "clicked",
            "when": "read_s",
            "map": {
                "event_type": {"const": "view_end"},
                "event_id": {"hash_of": ["rid", "element"]},
                "item_id": "element",
                "duration_ms": {"path": "read_s", "unit": "s"},
                "position": "@index",
            },
        },
    ],
}


def test_list_shown() -> None:
    """A record of a list gives an event per element, with its index, and the parent's fields."""
    decoded = decode([SHOWN], **LIST_SOURCE)
    columns = ("event_type", "event_id", "item_id", "author_id", "position", "duration_ms", "index")
    rows = decoded.events.select(columns).rows()
    assert rows[:4] == [
        ("impression", "r1:0", "a", "x", 0, None, 0),
        ("impression", "r1:1", "b", "u1", 1, None, 1),
        ("impression", "r1:2", "c", "u1", 2, None, 2),
        ("click", f"r1:{STRIDE}", "b", None, None, None, STRIDE),
    ]
    assert rows[4][0] == "view_end"
    assert rows[4][2:] == ("b", None, 0, 2500, 2 * STRIDE)
    assert ":" not in rows[4][1]


def test_bad_element() -> None:
    """A bad element is one reject at its index; its neighbours and their numbers stay."""
    record = {**SHOWN, "items": [{"id": "a"}, {"id": ["x"]}, 5, {"id": "d"}, None]}
    decoded = decode([record, SHOWN], **LIST_SOURCE)
    first = decoded.events.filter(offset=1, event_type="impression")
    assert first.select("item_id", "index").rows() == [("a", 0), ("d", 3), (None, 4)]
    assert told(decoded) == [(1, 1, "wrong_type"), (1, 2, "wrong_type")]
    assert decoded.events.filter(offset=2).height == 5
    assert decoded.rejects["raw"].to_list() == [json.dumps(record).encode()] * 2


def test_not_a_list() -> None:
    """A list that is something else is one reject of its block; missing and empty give nothing."""
    decoded = decode([{**SHOWN, "items": "a,b"}], **LIST_SOURCE)
    assert told(decoded) == [(1, 0, "wrong_type")]
    assert decoded.events["event_type"].to_list() == ["click", "view_end"]
    nothing = [{**SHOWN, "items": [], "clicked": None}, {"rid": "r"}]
    decoded = decode(nothing, **LIST_SOURCE)
    assert (decoded.events.height, decoded.rejects.height, decoded.silent) == (0, 0, 2)


def test_too_long_a_list() -> None:
    """A list longer than the indices reach is one reject, not events that share ids."""
    record = {**SHOWN, "clicked": ["x"] * (STRIDE + 1)}
    decoded = decode([record], **LIST_SOURCE)
    assert decoded.events["event_type"].to_list() == ["impression"] * 3
    assert told(decoded) == [(1, STRIDE, "wrong_type"), (1, 2 * STRIDE, "wrong_type")]


def test_when_equals() -> None:
    """A block may be for some records only; the others are counted and give nothing."""
    emit = [{"when": {"path": "kind", "equals": ["a", "b"]}}, {"when": "extra"}]
    records = [{**RECORD, "kind": k} for k in ("a", "c")] + [{**RECORD, "extra": 1}]
    decoded = decode(records, emit=emit)
    assert decoded.events.select("offset", "index").rows() == [(1, 0), (3, STRIDE)]
    assert decoded.silent == 1


def test_when_an_object_is_there() -> None:
    """Whether a field is there can be asked of an object, read elsewhere or not; {} is there."""
    records = [{**RECORD, "o": o} for o in ({}, {"x": 1}, None, 5, {"x": None})]
    for more in ({}, {"item_id": "o.x"}):
        decoded = decode(records, emit=[{"when": "o", "map": more}])
        rows = decoded.events["offset"].to_list() + decoded.rejects["offset"].to_list()
        assert sorted(rows) == [1, 2, 4, 5]
        assert decoded.silent == 1


def test_future() -> None:
    """A time past the clock and its allowance is refused; exactly at it is not; none, no guard."""
    records = [{**RECORD, "ts": TS + ahead} for ahead in (0, 1000, 1001)]
    now = datetime.fromtimestamp(TS / 1000, UTC)
    assert told(decode(records, now=now)) == [(3, 0, "future_timestamp")]
    assert decode(records).events.height == 3
    places = positions("t", [1, 2, 3]).with_columns(
        broker_ts=pl.Series([now, now + timedelta(hours=1), now])
    )
    batch = RecordBatch([json.dumps(r).encode() for r in records], places, broker_clock=True)
    assert told(decoder().decode(batch)) == [(3, 0, "future_timestamp")]


def test_lists_and_declared_columns() -> None:
    """A list of texts from a list or from one text; a declared time has its own unit."""
    listed = {**RECORD, "exp": ["b", None, "a"], "tags": "x|y", "seen": 5}
    assert one("experiments", listed, **spec("experiments", "exp")).to_list() == ["b", "a"]
    split = spec("experiments", {"path": "tags", "split": "|"})
    assert one("experiments", listed, **split).to_list() == ["x", "y"]
    assert told(decode([{**RECORD, "exp": ["a", {}]}], **spec("experiments", "exp"))) == [
        (1, 0, "wrong_type")
    ]
    seen = one("seen_ts", listed, **spec("seen_ts", {"path": "seen", "unit": "s"}))
    assert seen == datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)


def test_columns_go_the_same_way() -> None:
    """A Parquet frame gives what the same records give as JSON, and its rejects feed again."""
    frame = pl.DataFrame(
        {
            "ts": [datetime(2023, 1, 1, 12), datetime(2023, 1, 1, 13), None],  # noqa: DTZ001 - is naive
            "type": ["a", "b", "c"],
            "user": [1, None, 3],
            "ctx": [{"n": 1.0}, {"n": 2.0}, None],
            "price": [12.34, float("nan"), 1.0],
            "raw": [b"a", b"b", b"\xff"],
        }
    )
    how = spec("value", {"path": "price", "unit": "micro"})
    how["map"]["item_id"] = "ctx.n"
    made = decoder(**how, timezone="Europe/Copenhagen")
    decoded = made.decode(FieldBatch(frame, positions("f", [1, 2, 3])))
    assert decoded.events.select("event_ts", "user_id", "item_id", "value").rows() == [
        (datetime(2023, 1, 1, 11, tzinfo=UTC), "1", "1", 12_340_000)
    ]
    assert told(decoded) == [(2, 0, "missing_field"), (3, 0, "missing_field")]
    again = made.decode(RecordBatch(decoded.rejects["raw"].to_list(), positions("f", [2, 3])))
    assert told(again) == told(decoded)
    fixed = [raw.replace(b'"user":null', b'"user":"u"') for raw in decoded.rejects["raw"]]
    again = made.decode(RecordBatch(fixed, positions("f", [2, 3])))
    assert again.events.select("event_ts", "user_id", "item_id").rows() == [
        (datetime(2023, 1, 1, 12, tzinfo=UTC), "u", "2")
    ]


def test_constant_of_another_type() -> None:
    """A constant that its column cannot hold is a configuration error."""
    with pytest.raises(ConfigError, match=r"'web'.*map.position.*'x'"):
        decoder(**spec("position", {"const": "x"}))


def test_raw_is_capped() -> None:
    """The bytes of a reject are cut at the limit, and say so; many of one record share 1 MiB."""
    record = {**SHOWN, "items": [{"id": []}] * 200, "pad": "x" * 20_000}
    repeated = decode([record], **LIST_SOURCE).rejects["raw"]
    assert repeated.len() == 200
    assert sum(len(raw) for raw in repeated.drop_nulls()) < 1 << 20
    decoded = decode([b"{" + b"x" * 100_000, b"{"])
    assert decoded.rejects["raw"].bin.size().to_list() == [65_536, 1]
    assert decoded.rejects["truncated"].to_list() == [True, False]
