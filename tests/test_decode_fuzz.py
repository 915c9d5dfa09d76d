"""Mutated records in numbers: nothing crashes, and every record is accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from labeling.config import parse_config
from labeling.io.decode import Decoder, RecordBatch
from labeling.io.files import positions
from labeling.model.reject import Reason
from tests.json_records import mutated, record

BATCH = 2_500
TOTAL = 100_000
MAP: dict[str, Any] = {
    "event_id": "id",
    "event_ts": {"first_of": ["ts", {"path": "sent", "unit": "s"}]},
    "event_type": "type",
    "user_id": {"first_of": ["user.id", "a"]},
    "item_id": "s.x",
    "position": "pos",
    "value": {"path": "price", "unit": "micro"},
    "experiments": "l",
    "props": "*",
}
EMIT: list[dict[str, Any]] = [
    {"map": {}},
    {"explode": "o", "when": "element", "map": {"scene": "element.p", "page_id": "element.q"}},
]


def good(rng: Random, number: int) -> bytes:
    """A record as a client would send it, of the mapping's fields and some of another shape."""
    made: dict[str, Any] = {
        "id": f"e{number}",
        "ts": rng.choice([1_700_000_000_000 + number, "2023-11-14T22:13:20Z", "2023-11-14T22:13"]),
        "type": rng.choice(["impression", "click"]),
        "user": {"id": f"u{number % 100}"},
        "pos": rng.choice([1, 2.0, "3", None, 2.5, 2**40]),
        "price": rng.choice([12.34, "0.1", 10**30, None]),
        "o": [{"p": rng.choice(["x", 1, None, []])} for _ in range(rng.randint(0, 3))],
        "more": {"text": "é\U0001f600", "n": [1, 2]},
    }
    return json.dumps(made, ensure_ascii=rng.random() < 0.5).encode()


def payload(rng: Random, number: int) -> bytes | None:
    """A good record, a mutated one, a hostile one or none."""
    kind = rng.random()
    if kind < 0.4:
        return good(rng, number)
    if kind < 0.7:
        return mutated(rng, good(rng, number))
    return record(rng) if kind < 0.99 else rng.choice([None, b"", b" ", b"\n", b"\xff" * 100])


@pytest.mark.parametrize("seed", [1, 2])
def test_every_record_is_accounted_for(seed: int) -> None:
    """Of 100,000 mutated records each gives events or rejects, one per block row, or is silent."""
    config = parse_config(
        {"source": [{"name": "web", "files": "x", "map": MAP, "emit": EMIT}]}, Path("/p/c.toml")
    )
    decoder = Decoder(config.sources[0])
    rng = Random(seed)
    codes, events, rejected = set[str](), 0, 0
    for start in range(0, TOTAL // 2, BATCH):
        batch = [payload(rng, start + n) for n in range(BATCH)]
        decoded = decoder.decode(RecordBatch(batch, positions("t", range(BATCH))))
        origin = ["offset", "index"]
        seen = decoded.events.select(origin).vstack(decoded.rejects.select(origin))
        assert seen.is_unique().all()
        assert decoded.records == BATCH == seen["offset"].n_unique() + decoded.silent
        # The first block is of every record: one event or one reject of index 0 from each.
        assert seen.filter(index=0)["offset"].n_unique() == BATCH
        assert decoded.rejects["detail"].null_count() == 0
        events, rejected = events + decoded.events.height, rejected + decoded.rejects.height
        codes |= set(decoded.rejects["reason"])
    assert events > TOTAL // 10
    assert rejected > TOTAL // 10
    assert codes == {
        Reason.EMPTY_RECORD, Reason.BAD_JSON, Reason.WRONG_TYPE, Reason.BAD_TIMESTAMP,
        Reason.BAD_VALUE, Reason.MISSING_FIELD,
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_do_not_matter(seed: int) -> None:
    """A record gives the same events and rejects alone, in a batch and in another order."""
    config = parse_config(
        {"source": [{"name": "web", "files": "x", "map": MAP, "emit": EMIT}]}, Path("/p/c.toml")
    )
    decoder = Decoder(config.sources[0])
    rng = Random(seed)
    batch = [payload(rng, n) for n in range(150)]
    order = rng.sample(range(150), 150)

    def rows(numbers: list[int]) -> list[Any]:
        places = positions("t", numbers)
        decoded = decoder.decode(RecordBatch([batch[n] for n in numbers], places))
        return [
            [part.filter(offset=n).to_dicts() for part in (decoded.events, decoded.rejects)]
            for n in sorted(numbers)
        ]

    together = rows(list(range(150)))
    assert rows(order) == together
    assert [rows([n])[0] for n in range(150)] == together
