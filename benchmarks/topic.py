"""A topic filled with a simulated log: by this module's functions, or as a process at a set rate.

Always holds: records go round the partitions, so that each has its share of every second of the
log; a value is a line of JSON as the simulator writes it.

Not promised: that a set rate is kept where the machine is too slow; what was reached is printed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Final

from confluent_kafka import Producer

_SETTINGS: Final[dict[str, str | int]] = {
    "linger.ms": 20,
    "compression.type": "lz4",
    "queue.buffering.max.messages": 500_000,
    "queue.buffering.max.kbytes": 500_000,
}
#: So many records are sent between two looks at the clock.
_SLICE: Final = 500


def fill(bootstrap: str, topic: str, log: Path, partitions: int, rate: float = 0.0) -> float:
    """Send the lines of a log; the seconds it took.

    Args:
        bootstrap: of the broker.
        topic: it exists.
        log: JSON lines.
        partitions: of the topic.
        rate: records a second; 0: as fast as it goes.
    """
    producer = Producer({**_SETTINGS, "bootstrap.servers": bootstrap})
    began = time.perf_counter()
    with log.open("rb") as lines:
        for number, line in enumerate(lines):
            while True:
                try:
                    producer.produce(topic, line.rstrip(b"\n"), partition=number % partitions)
                    break
                except BufferError:
                    producer.poll(0.05)
            if number % _SLICE == 0:
                producer.poll(0)
                ahead = number / rate - (time.perf_counter() - began) if rate else 0.0
                if ahead > 0:
                    time.sleep(ahead)
    producer.flush()
    return time.perf_counter() - began


def main() -> None:
    """Fill a topic from the command line, and print the seconds it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("log", type=Path)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.0)
    given = parser.parse_args()
    took = fill(given.bootstrap, given.topic, given.log, given.partitions, given.rate)
    print(json.dumps({"seconds": round(took, 3)}))


if __name__ == "__main__":
    main()
