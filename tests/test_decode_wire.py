"""Avro and Protobuf through a registry: the same events as JSON, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.config import parse_config
from labeling.config.cluster import RegistryConfig
from labeling.errors import ConfigError, RegistryUnavailable
from labeling.io.decode import Decoded, Decoder, RecordBatch
from labeling.io.decode_wire import WireReader
from labeling.io.files import positions
from labeling.io.registry import Registry
from tests.registry_server import RegistryServer, registry_server
from tests.wire_records import (
    AVRO,
    EMIT,
    EVENT_CLASS,
    KINDS,
    MAP,
    Event,
    avro_bytes,
    head,
    proto_file,
    serialized,
)  # fmt: skip

ONE = Event("e1", 1_700_000_000_123, "like", "u1", 3, 1234, ("a", "b"), ("x",), "n", seen=True)
QUICK: dict[str, Any] = {"max.retries": 0, "timeout": 5}


@pytest.fixture(scope="module")
def server() -> Iterator[RegistryServer]:
    """A registry with the two schemas of an event."""
    with registry_server() as running:
        running.register("avro-value", json.dumps(AVRO))
        running.register("proto-value", serialized(proto_file()), "PROTOBUF")
        yield running


def decoder(form: str, server: RegistryServer, **changes: Any) -> Decoder:
    """A decoder of one source of that format."""
    source = {"name": "app", "format": form, "topics": "t", "map": MAP, "emit": EMIT, **changes}
    cluster = {"bootstrap": "x:1", "registry": {"url": server.url, "settings": QUICK}}
    tree = {"source": [source], "cluster": {"main": cluster}}
    config = parse_config(tree, Path("/p/labeling.toml"))
    registry = Registry(RegistryConfig(url=server.url, settings=QUICK))
    return Decoder(config.sources[0], registry=None if form == "json" else registry)


def decode(of: Decoder, payloads: list[bytes | None]) -> Decoded:
    """The batch as of one partition."""
    return of.decode(RecordBatch(payloads, positions("t", range(len(payloads)))))


def _props_read(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its rest as values: JSON keeps the escapes of the record."""
    return {**row, "props": json.loads(row["props"])}


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
EVENTS = st.builds(
    Event,
    id=TEXTS,
    ms=st.integers(0, 2**42) | st.sampled_from([7_258_118_400_000, 10**13, -1]),
    kind=st.sampled_from(KINDS),
    user=st.none() | TEXTS,
    pos=st.none() | st.integers(-(2**31), 2**31 - 1),
    cents=st.none() | st.integers(-(10**9), 10**9),
    tags=st.lists(TEXTS, max_size=3).map(tuple),
    parts=st.lists(TEXTS, max_size=3).map(tuple),
    note=TEXTS,
    seen=st.booleans(),
)


@pytest.fixture(scope="module")
def decoders(server: RegistryServer) -> dict[str, Decoder]:
    """A decoder of each format."""
    return {form: decoder(form, server) for form in ("json", "avro", "protobuf")}


@given(st.lists(EVENTS, min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_three_formats_are_one(decoders: dict[str, Decoder], events: list[Event]) -> None:
    """Events logged as JSON, Avro and Protobuf, mapped alike, give the same frame and rejects."""
    logged = {
        "json": [event.json() for event in events],
        "avro": [event.avro(1) for event in events],
        "protobuf": [event.protobuf(2) for event in events],
    }
    found = {form: decode(decoders[form], [*logged[form]]) for form in logged}
    rows = {
        form: [_props_read(row) for row in one.events.to_dicts()] for form, one in found.items()
    }
    told = ["offset", "index", "reason"]
    for form in ("avro", "protobuf"):
        assert rows[form] == rows["json"]
        assert found[form].events.schema == found["json"].events.schema
        assert found[form].rejects.select(told).equals(found["json"].rejects.select(told))
        kept = dict(found[form].rejects.select("offset", "raw").rows())
        assert all(kept[row] == logged[form][row] for row in kept)


@pytest.mark.parametrize(
    ("form", "payload", "reason", "part"),
    [
        ("avro", None, "empty_record", "no bytes"),
        ("avro", b"{}", "bad_avro", "begins with 123"),
        ("avro", b"\x00\x00", "bad_avro", "too short"),
        ("avro", head(1), "bad_avro", "EOFError"),
        ("avro", ONE.avro(1) + b"x", "bad_avro", "1 bytes behind"),
        ("avro", ONE.avro(99), "unknown_schema", "schema 99: Schema not found"),
        ("avro", ONE.avro(2), "unknown_schema", "schema 2 is PROTOBUF"),
        ("protobuf", ONE.protobuf(99), "unknown_schema", "schema 99"),
        ("protobuf", ONE.protobuf(1), "unknown_schema", "schema 1 is AVRO"),
        ("protobuf", head(2) + b"\x00\xff\xff", "bad_protobuf", "DecodeError"),
        ("protobuf", head(2) + b"\x02\x0a", "bad_protobuf", "no message [5]"),
        ("protobuf", head(2) + b"\x80", "bad_protobuf", "indexes are cut"),
    ],
)
def test_one_bad_record(
    server: RegistryServer, form: str, payload: bytes | None, reason: str, part: str
) -> None:
    """A record that cannot be opened is one reject with its bytes; its neighbours are events."""
    good = ONE.avro(1) if form == "avro" else ONE.protobuf(2)
    found = decode(decoder(form, server), [good, payload, good])
    assert found.rejects.select("offset", "reason", "raw").rows() == [(1, reason, payload or b"")]
    assert part in found.rejects["detail"][0]
    assert found.events["offset"].to_list() == [0, 0, 2, 2]
    assert (found.records, found.silent) == (3, 0)


@pytest.mark.parametrize("form", ["avro", "protobuf"])
def test_fed_again(server: RegistryServer, form: str) -> None:
    """The bytes of a reject are read again by a corrected mapping."""
    payload = ONE.avro(1) if form == "avro" else ONE.protobuf(2)
    broken = decode(decoder(form, server, map={**MAP, "position": "note"}), [payload])
    assert broken.rejects["reason"].unique().to_list() == ["wrong_type"]
    again = decode(decoder(form, server), broken.rejects["raw"].unique().to_list())
    assert again.events.height == 2
    assert again.rejects.is_empty()


def test_outage_loses_nothing(server: RegistryServer) -> None:
    """While the registry is down a batch is refused as a whole; known schemas need no registry."""
    reader = decoder("avro", server)
    server.down = True
    try:
        with pytest.raises(RegistryUnavailable, match="down for a while") as raised:
            decode(reader, [b"junk", ONE.avro(1)])
        assert raised.value.transient
    finally:
        server.down = False
    assert decode(reader, [b"junk", ONE.avro(1)]).events.height == 2
    server.down = True
    try:
        assert decode(reader, [ONE.avro(1)]).events.height == 2
    finally:
        server.down = False


def test_schemas_of_one_batch(server: RegistryServer) -> None:
    """Records of several schemas stay in their order; a field may change its type between them."""
    names = ("id", "ts", "kind", "user")
    fields = [{"name": name, "type": ["null", "string", "long"]} for name in names]
    plain = {"type": "record", "name": "Event", "fields": fields}
    number = server.register("plain-value", json.dumps(plain))
    records = [
        {"id": 5, "ts": 1_700_000_000_123, "kind": "like", "user": "u1"},
        {"id": "6", "ts": "2023-11-14T22:13:20.123Z", "kind": "like", "user": None},
    ]
    logged = [ONE.avro(1), *(avro_bytes(plain, r, number) for r in records), ONE.avro(1)]
    of = decoder("avro", server, map={**MAP, "user_id": "id"}, emit=[])
    found = decode(of, [*logged]).events
    assert found["event_id"].to_list() == ["e1", "5", "6", "e1"]
    assert found["event_ts"].unique().to_list() == [
        datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)
    ]


def test_misplaced_parts(server: RegistryServer) -> None:
    """A value where the mapping expects an object or a list is a reject, as with JSON."""
    of = decoder("avro", server, map={**MAP, "user_id": "note.id"}, emit=[])
    assert decode(of, [ONE.avro(1)]).rejects["reason"].to_list() == ["wrong_type"]
    of = decoder("avro", server, map={**MAP, "experiments": "note"}, emit=[])
    assert decode(of, [ONE.avro(1)]).rejects["reason"].to_list() == ["wrong_type"]


@pytest.mark.parametrize("form", ["avro", "protobuf"])
@given(st.binary(max_size=60), st.integers(0, 80))
@settings(max_examples=100, deadline=None)
def test_any_bytes(decoders: dict[str, Decoder], form: str, junk: bytes, place: int) -> None:
    """Whatever bytes stand in a record, it gives events or a reject and nothing is raised."""
    good = ONE.avro(1) if form == "avro" else ONE.protobuf(2)
    bad = good[: 5 + place] + junk
    found = decode(decoders[form], [good, bad, good])
    assert found.events.filter(pl.col("offset") != 1).height == 4
    assert found.records == 3


def test_names_of_nested_messages(server: RegistryServer) -> None:
    """The indexes name a message within another: [0, 0] is app.Event.User."""
    body = EVENT_CLASS.DESCRIPTOR.nested_types_by_name["User"]
    assert body.full_name == "app.Event.User"
    reader = WireReader("protobuf", Registry(RegistryConfig(url=server.url, settings=QUICK)))
    read = reader.read([head(2) + b"\x04\x00\x00" + b"\x0a\x02u9"])
    assert [part.values for part in read.parts] == [[{"id": "u9"}]]


def test_no_registry() -> None:
    """A source of these formats without a registry is refused, with what to write."""
    config = parse_config(
        {
            "source": [{"name": "a", "format": "avro", "topics": "t", "map": MAP}],
            "cluster": {"main": {"bootstrap": "x:1"}},
        },
        Path("/p/labeling.toml"),
    )
    with pytest.raises(ConfigError, match="needs a schema registry"):
        Decoder(config.sources[0])
