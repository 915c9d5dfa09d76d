"""The fast way to read JSON against the exact one: the same records, the same values."""

from __future__ import annotations

from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.io.decode_bulk import BulkReader, readable
from labeling.io.decode_exact import MAX_DEPTH, BadJsonError, exact
from labeling.io.decode_json import JsonReader
from labeling.io.mapping_numbers import BAD_VALUE, WRONG_TYPE
from tests.json_records import SHAPE, TEXT, record

READER = JsonReader(SHAPE)
IN_BULK = JsonReader(SHAPE, bulk_rows=1)
REFUSED = "refused"


def fast(payloads: list[bytes | None]) -> list[Any]:
    """What the reader gives for each record of a batch, the same in bulk and not."""
    found = [_rows(reader, payloads) for reader in (READER, IN_BULK)]
    assert found[0] == found[1]
    return found[0]


def _rows(reader: JsonReader, payloads: list[bytes | None]) -> list[Any]:
    read = reader.read(payloads)
    rows = range(len(payloads)) if read.rows is None else read.rows.to_list()
    found = dict(zip(rows, read.fields.to_dicts(), strict=True))
    assert found.keys().isdisjoint(read.faults)
    assert found.keys() | read.faults.keys() == set(range(len(payloads)))
    if read.clean:
        assert "\x00" not in str(read.fields.to_dicts())
    return [found.get(row, REFUSED) for row in range(len(payloads))]


def slow(payload: bytes) -> Any:
    """What the exact way gives for a record."""
    if not payload.strip(b" \t\r\n"):
        return REFUSED
    try:
        return exact(payload, SHAPE)
    except BadJsonError:
        return REFUSED


@given(st.integers(0, 2**32), st.sampled_from([1, 4, 30]))
@settings(max_examples=250, deadline=None)
def test_fast_equals_exact(seed: int, size: int) -> None:
    """Whatever a record holds, reading it in a batch gives what reading it exactly gives."""
    rng = Random(seed)
    batch = [record(rng) for _ in range(size)]
    assert fast([*batch]) == [slow(one) for one in batch]


@given(st.binary(max_size=40), st.text(max_size=20))
@settings(max_examples=200, deadline=None)
def test_any_bytes(raw: bytes, text: str) -> None:
    """Bytes that are nothing, and any text as a value, are read the same both ways."""
    value = text.encode("utf-8", "surrogatepass")
    batch = [b'{"a":1}', raw, b'{"a":"%s","b":2}' % value, b'{"b":3}']
    assert fast([*batch]) == [slow(one) for one in batch]


SOUND = b'{"a":"x","s":{"x":1,"y":{"z":2}},"l":[1],"o":[{"p":1}],"b":true}'


@pytest.mark.parametrize(
    ("payload", "a"),
    [
        (b'{"a":1.0}', "1"),
        (b'{"a":1e3}', "1000"),
        (b'{"a":12.340}', "12.34"),
        (b'{"a":"1.0"}', "1.0"),
        (b'{"a":true}', "true"),
        (b'{"a":null}', None),
        (b'{"a":"\\ud83d\\ude00\\n"}', "\U0001f600\n"),
        (b'{"a":"x","a":"y"}', "x"),
        (b'{"\\u0061":"x"}', "x"),
        (b'{"a":"{not json"}', "{not json"),
        (b'{"a":{"k":1}}', WRONG_TYPE + '{"k": "1"}'),
        (b'{"a":[1]}', WRONG_TYPE + '["1"]'),
        (b'{"a":"\\u0000"}', BAD_VALUE + 'a NUL in "\\u0000"'),
        (b'{"a":"\\ud83d"}', BAD_VALUE + 'half a surrogate pair in "\\ud83d"'),
        (b'{\n"a":\n"x"\n}', "x"),
        (b'{"a":"x","z":1e400}', "x"),
        (b'{"a":1e400}', "1e400"),
        (b' {"a":"x"} \r', "x"),
    ],
)
def test_one_value(payload: bytes, a: str | None) -> None:
    """A value is its text, a number that of its value; alone and among neighbours."""
    assert fast([payload])[0]["a"] == a
    among = fast([SOUND, payload, SOUND])
    assert among[1]["a"] == a
    assert [among[0], among[2]] == fast([SOUND, SOUND])


@pytest.mark.parametrize(
    ("payload", "part"),
    [
        (None, "no bytes"),
        (b"", "no bytes"),
        (b" \r", "blank"),
        (b"[]", "not an object"),
        (b'{"a":1}{"a":2}', "Extra data"),
        (b'{"a":1}\n{"a":2}', "Extra data"),
        (b'{"a":"x\ny"}', "control character"),
        (b'{"a":"\xff"}', "not UTF-8 at byte 6"),
        (b'\xef\xbb\xbf{"a":1}', "Expecting value"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":1', "delimiter"),
        (b'{"a":{' + b'"k":{' * MAX_DEPTH, "nested deeper"),
    ],
)
def test_not_a_record(payload: bytes | None, part: str) -> None:
    """What is not one JSON object is a fault that says why, and leaves its neighbours alone."""
    read = READER.read([SOUND, payload, SOUND])
    assert list(read.faults) == [1]
    assert part in read.faults[1][1]
    assert read.rows is not None
    assert read.rows.to_list() == [0, 2]
    assert read.fields.equals(READER.read([SOUND, SOUND]).fields)


def test_two_lines_and_none() -> None:
    """A record of two lines beside an empty one does not shift the records behind it."""
    batch: list[bytes | None] = [b'{"a":1}\n{"a":2}', b"", b'{"a":3}']
    found = fast(batch)
    assert found[:2] == [REFUSED, REFUSED]
    assert found[2]["a"] == "3"


def test_parts_of_another_type() -> None:
    """Where an object or a list should be, every value below says that it is something else."""
    found = fast([b'{"s":5,"l":"x","o":{"p":1},"a":1.10}'])[0]
    assert found["s"]["x"] == found["s"]["y"]["z"] == WRONG_TYPE + '"5"'
    assert found["l"] == [WRONG_TYPE + '"x"']
    assert found["o"][0]["p"] == WRONG_TYPE + '{"p": "1"}'
    assert found["a"] == "1.1"


def test_deep_nesting_is_no_crash() -> None:
    """A record of a million brackets is a fault; one of some hundred is its own affair."""
    deep = [b'{"z":' + b"[" * n + b"]" * n + b',"a":1}' for n in (100, 10**6)]
    assert [one == REFUSED for one in fast([*deep, SOUND])] == [False, True, False]


TAKEN = [
    (b'{"a":1,"b":"x y","s":{"x":"\xc3\xa9"},"l":["p",7],"o":[{"p":true}]}', True),
    (b'{"a":12.34,"b":-0.5,"l":[]}', True),
    (b'{"a":"{\\"text\\":1}","b":"[x]"}', True),
    (b'{"a":"1e5x","z":{"deep":[1.0]}}', True),
    (b'{"a":1.0}', False),
    (b'{"a":1e3}', False),
    (b'{"a":{"k":1}}', False),
    (b'{"s":1}', False),
    (b'{"l":[[1]]}', False),
    (b'{"a":"\\u0000"}', False),
    (b'{"a":1,}', False),
    (b'{"a":NaN}', False),
    (b'{"z":"\xff"}', False),
    (None, False),
]


def test_what_is_taken_in_bulk() -> None:
    """Sound records are taken, an object in a text too; what DuckDB might misread is left."""
    taken = BulkReader(SHAPE).read([payload for payload, _ in TAKEN])
    assert taken is not None
    fields, rows = taken
    assert rows.to_list() == [row for row, (_, yes) in enumerate(TAKEN) if yes]
    assert fields.to_dicts() == [slow(payload) for payload, yes in TAKEN if yes and payload]
    assert fields.schema == SHAPE


def test_names_that_differ_by_case() -> None:
    """Fields whose names differ by case alone are read as they are, not by DuckDB."""
    shape: dict[str, pl.DataType] = {"id": TEXT, "ID": TEXT, "o": pl.List(pl.Struct({"x": TEXT}))}
    assert not readable(shape)
    assert readable(SHAPE)
    assert not readable({"o": pl.List(pl.Struct({"x": TEXT, "X": TEXT}))})
    reader = JsonReader(shape, bulk_rows=1)
    assert reader.read([b'{"id":1,"ID":2}']).fields.to_dicts() == [
        {"id": "1", "ID": "2", "o": None}
    ]
