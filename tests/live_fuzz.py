"""Mutated records through the real flow: nothing crashes, and every one of them is accounted for.

    python -m tests.live_fuzz --records 1000000          (or: make fuzz RECORDS=1000000)

Always holds: the same seed gives the same records but for their times, which end now: a mutated
time that lies ahead of them is in the future, and none makes all the others late. The flow goes
through all of them, its four counts add up to what was produced, and its rows are those of what it
archived.

Not promised: that a mutation makes a bad record. Some are events like others.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.kafka_broker import Broker
from tests.live_checks import check
from tests.live_project import LiveProject
from tests.live_stream import START, dealt, send, simulated, simulated_project

_CHUNK: Final = 50_000
#: A time of the simulator's stream, epoch ms.
_TIME: Final = re.compile(rb"177[34]\d{9}")
_TOKENS: Final = (
    b"null", b"true", b"1e400", b"-0", b"[]", b"{}", b'""', b"NaN", b'"\\ud800"', b"\x00", b"\xff",
    b"9223372036854775808", b"1.5", b'{"a":{"a":{"a":{}}}}', b'"2026-03-20T06:00:00Z"', b"\n",
    b"99999999999999", b"-1", b"\xef\xbb\xbf", b'"event_ts":0',
)  # fmt: skip
Mutation = Callable[[random.Random, bytes], bytes]


def _flip(chance: random.Random, record: bytes) -> bytes:
    """Another byte in the place of one."""
    at = chance.randrange(len(record))
    return record[:at] + bytes([chance.randrange(256)]) + record[at + 1 :]


def _cut(chance: random.Random, record: bytes) -> bytes:
    """Some bytes gone."""
    low = chance.randrange(len(record))
    return record[:low] + record[low + chance.randrange(1, 40) :]


def _end(chance: random.Random, record: bytes) -> bytes:
    """The rest gone."""
    return record[: chance.randrange(len(record))]


def _twice(chance: random.Random, record: bytes) -> bytes:
    """Some bytes twice."""
    low = chance.randrange(len(record))
    return record[:low] + record[low : low + 30] * 2 + record[low + 30 :]


def _value(chance: random.Random, record: bytes) -> bytes:
    """Another value in the place of a field's."""
    fields = record.split(b",")
    at = chance.randrange(len(fields))
    name, colon, _ = fields[at].partition(b":")
    fields[at] = name + colon + chance.choice(_TOKENS)
    return b",".join(fields)


def _insert(chance: random.Random, record: bytes) -> bytes:
    """A token anywhere."""
    at = chance.randrange(len(record))
    return record[:at] + chance.choice(_TOKENS) + record[at:]


def _swap(chance: random.Random, record: bytes) -> bytes:
    """The fields in another order, one of them gone."""
    fields = record.strip(b"{}").split(b",")
    chance.shuffle(fields)
    return b"{" + b",".join(fields[1:]) + b"}"


MUTATIONS: Final[tuple[Mutation, ...]] = (_flip, _cut, _end, _twice, _value, _insert, _swap)


def mutated(records: Sequence[bytes], number: int, seed: int) -> list[bytes]:
    """So many mutations of the records, one to three of each; every tenth is left as it is."""
    chance = random.Random(seed)
    made = []
    for n in range(number):
        record = records[n % len(records)]
        for _ in range(chance.randrange(1, 4) if n % 10 else 0):
            record = chance.choice(MUTATIONS)(chance, record) or b" "
        made.append(record)
    return made


def recent(records: Sequence[bytes], hours: int) -> list[bytes]:
    """The records with their times moved so that they begin so many hours ago."""
    shift = round(time.time() - START.timestamp() - hours * 3_600) * 1_000
    return [_TIME.sub(lambda found: b"%d" % (int(found[0]) + shift), r) for r in records if r]


def fuzz(
    project: LiveProject, number: int, seed: int, tell: Callable[[str], None] = lambda _: None
) -> None:
    """So many records through a flow, chunk by chunk, and the checks."""
    sent = 0
    while sent < number:
        size = min(_CHUNK, number - sent)
        later = -(-(number - sent) // _CHUNK)
        base = recent(simulated(10_000, seed=seed + sent, late=0.01), hours=2 * later)
        send(project, dealt(mutated(base, size, seed + sent), (4, 2, 1)))
        project.run()
        sent += size
        counts = project.counts()
        assert counts["records"] == sent
        tell(f"{sent:,} records: {counts}")
    check(project)


def main(args: Sequence[str] | None = None) -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.live_fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--records", type=int, default=50_000, help="how many (50,000)")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations (1)")
    given = parser.parse_args(args)
    broker = Broker()
    try:
        broker.start()
        with TemporaryDirectory(prefix="labeling-fuzz-") as folder:
            project = simulated_project(Path(folder) / "project", broker, batch_events=20_000)
            fuzz(project, given.records, given.seed, tell)
    finally:
        broker.close()


def tell(text: str) -> None:
    """A line of progress."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
