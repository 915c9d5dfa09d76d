"""``kill -9`` at random instants under load, again and again, and what must be true at the end.

    python -m tests.chaos --kills 200          (or: make chaos KILLS=200)

Always holds: producers of events and of features go on beside the flow, over uneven partitions,
with records out of order, repeated, late, too late and broken; repairs beside the flow are killed
as well, and a killed flow leaves repairs behind. At the end, after one ``labeling repair``, every
record is accounted for once, the rows of hot and cold rules are those of the archive, a consumer of
the change topic has them too, samples, hourly sums and digests are equal to a recount, markers add
up to them, and ``labeling verify`` finds no difference.

Not promised: the same instants for the same seed. The machine decides what a kill hits.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from labeling.errors import LabelingError
from tests.kafka_broker import Broker
from tests.live_checks import check, check_consumer, check_produced
from tests.live_process import DEADLINE_S, Flow, catch_up, flow, repairs
from tests.live_project import LiveProject
from tests.live_stream import (
    START,
    dealt,
    send,
    served,
    simulated,
    simulated_project,
    with_ranker,
)
from tests.product_checks import check_products

#: Events for each kill, so that a load lasts as long as the killing; features come beside.
RECORDS_PER_KILL: Final = 1_000
#: Slices for each kill: a kill takes less time than so many of them.
_SLICES_PER_KILL: Final = 60
SHARES: Final = (6, 3, 1)
_SLICE_S: Final = 0.05
#: What the killed flow has left is read in small rounds, on a machine that does other work.
_SLOWEST_PER_S: Final = 100
#: Commits of the run at hand that took something in.
_COMMITTED: Final = (
    "SELECT count(*) AS n FROM commits WHERE events > 0 AND run = (SELECT max(run) FROM commits)"
)


#: Seconds from its first look at the store in which a repair is killed.
_REPAIR_S: Final = 1.5


@dataclass
class Outcome:
    """How often the flow and repairs beside it were killed, and how many records it was given."""

    kills: int = 0
    records: int = 0
    while_starting: int = 0
    repairs: int = 0
    records_sent: list[bytes] = field(default_factory=list)


def rampage(
    project: LiveProject,
    kills: int,
    seed: int,
    *,
    processes: int = 1,
    tell: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Kill a flow so often under load, then let it catch up; see ``settle`` for the checks."""
    chance = random.Random(seed)
    span: dict[str, Any] = {"seed": seed, "hours": 6.0, "late": 0.01}
    records = simulated(kills * RECORDS_PER_KILL, **span)
    feeds = {"app": records, "ranker": served(kills * RECORDS_PER_KILL, **span)}
    outcome = Outcome(records=sum(map(len, feeds.values())), records_sent=list(records))
    with _producing(project, feeds, kills * _SLICES_PER_KILL):
        for number in range(kills):
            _kill_once(project, chance, processes, outcome)
            tell(f"kill {number + 1} of {kills}: {_so_far(project)}")
    return outcome


def _kill_once(
    project: LiveProject, chance: random.Random, processes: int, outcome: Outcome
) -> None:
    """Start, kill one process at a random instant, and maybe a repair before."""
    phase = chance.choices(("starting", "opening", "reading", "mending"), (2, 2, 5, 2))[0]
    with flow(project, processes=processes) as one:
        if phase != "starting":
            one.until_said("SQL and metrics at")
        if phase in ("reading", "mending"):
            one.until(_COMMITTED, lambda f: f["n"][0] > 0)
        if phase == "mending":
            outcome.repairs += _kill_repair(one, chance)
        time.sleep(chance.uniform(0, 0.8))
        assert all(p.poll() is None for p in one.running), one.said
        one.kill(chance.randrange(processes))
        one.end()
    outcome.kills += 1
    outcome.while_starting += phase in ("starting", "opening")


def _kill_repair(one: Flow, chance: random.Random) -> int:
    """Wait for a repair at work and kill it at a random instant; how many were hit."""
    store = one.project.config.store
    lock = store.with_name(f"{store.name}.publishing")
    deadline = time.monotonic() + DEADLINE_S
    while not (lock.exists() and repairs(one.project)):
        assert time.monotonic() < deadline, one.said
        time.sleep(0.005)
    time.sleep(chance.uniform(0, _REPAIR_S))
    return sum(map(_killed, repairs(one.project)))


def _killed(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def settings(processes: int = 1) -> dict[str, Any]:
    """Of a project whose flow is to be killed; see ``simulated_project``."""
    return {
        "rules": "PRODUCTS", "shards": processes, "batch_events": 500, "repair_every": "500ms",
    }  # fmt: skip


def prepared(folder: Path, broker: Broker, processes: int = 1) -> LiveProject:
    """A project to be killed, with sources of events and of features."""
    project = simulated_project(folder, broker, **settings(processes))
    with_ranker(project)
    return project


@contextmanager
def _producing(
    project: LiveProject, feeds: Mapping[str, Sequence[bytes]], slices: int
) -> Iterator[None]:
    """Send records of sources slice by slice beside the block, and the rest when it ends."""
    left = {source: dealt(records, SHARES) for source, records in feeds.items()}
    sizes = {source: max(1, len(records) // slices) for source, records in feeds.items()}
    over = threading.Event()
    failed: list[BaseException] = []

    def slice_of(source: str) -> None:
        parts = left[source]
        now = [sizes[source] * share // sum(SHARES) + 1 for share in SHARES]
        send(project, [part[:n] for part, n in zip(parts, now, strict=True)], source)
        left[source] = [part[n:] for part, n in zip(parts, now, strict=True)]

    def go_on() -> None:
        try:
            while any(part for parts in left.values() for part in parts):
                for source in left:
                    slice_of(source)
                if over.wait(_SLICE_S):
                    for source, parts in left.items():
                        send(project, parts, source)
                    return
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            failed.append(error)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]


def settle(project: LiveProject, outcome: Outcome, processes: int = 1) -> str:
    """Let everything pass, and hold the store to all that it must be; what verify says last."""
    ends_ms = int((START + timedelta(hours=12)).timestamp()) * 1000
    lasts = _lasts(event_type="closing", user_id="nobody", event_ts=ends_ms, event_id="close")
    last_served = _lasts(request_id="closing", served_ts=ends_ms, item_id="close")
    backlog_s = DEADLINE_S + outcome.records / _SLOWEST_PER_S
    project.write(repair_every="5s")
    catch_up(project, processes=processes, deadline_s=backlog_s)
    send(project, lasts)
    send(project, last_served, "ranker")
    catch_up(project, processes=processes)
    done = project.command("repair")
    assert done.exit_code == 0, done.output
    # What was published without a flow is told by the next one.
    catch_up(project, processes=processes)
    check(project)
    check_consumer(project, project.live["changes_topic"])
    check_produced(project, [*outcome.records_sent, *(last for (last,) in lasts)])
    counts = project.counts()
    assert counts["records"] == outcome.records + len(lasts) + len(last_served)
    assert counts["too_late"]
    assert counts["duplicate"]
    check_products(project)
    return verified(project)


def _lasts(**fields: Any) -> list[list[bytes]]:
    """A record for each partition, so that no point before it remains."""
    (name,) = {"event_id", "item_id"} & {*fields}
    each = [{**fields, name: f"{fields[name]}-{n}"} for n in range(len(SHARES))]
    return [[json.dumps(one).encode()] for one in each]


def verified(project: LiveProject) -> str:
    """The last line of ``labeling verify`` over the whole stream: all is healed."""
    span = ["--from", f"{START:%Y-%m-%dT%H}", "--to", f"{START + timedelta(hours=7):%Y-%m-%dT%H}"]
    done = project.command("verify", *span)
    last = done.output.strip().splitlines()[-1]
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"live equals replay: [1-9].*\b0 differences", last), done.output
    return last


def _so_far(project: LiveProject) -> str:
    try:
        return f"{project.counts()['records']:,} records read"
    except LabelingError:  # killed before the first start had made the store
        return "nothing read"


def main(args: Sequence[str] | None = None) -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--kills", type=int, default=20, help="how often (20)")
    parser.add_argument("--seed", type=int, default=1, help="of the stream and of the waits (1)")
    parser.add_argument("--processes", type=int, default=1, help="of the flow (1)")
    given = parser.parse_args(args)
    broker = Broker()
    try:
        broker.start()
        with TemporaryDirectory(prefix="labeling-chaos-") as folder:
            project = prepared(Path(folder) / "project", broker, given.processes)
            outcome = rampage(
                project, given.kills, given.seed, processes=given.processes, tell=_print
            )
            _print(f"{outcome.kills} kills, {outcome.while_starting} of them while starting")
            _print(f"{outcome.repairs} repairs killed beside the flow")
            _print(f"{project.counts()}")
            _print(settle(project, outcome, given.processes))
    finally:
        broker.close()


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
