"""``labeling`` in a process that can be told to die at a named instant: ``--die POINT:N -- run``.

Always holds: the process ends with the one that started it (Linux); at the N-th time that the point
is reached it ends as by ``kill -9``, with nothing flushed and no handler run. Without ``--die`` it
is the command line as it is.

Not promised: points beyond ``POINTS``, which lie before and after each durable effect of a commit,
``REPAIRING`` and ``TAKING_IN``, which do so where a repair hands its rows to a flow.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

#: The status of a process that died at its point.
DIED: Final = 137


class Point(NamedTuple):
    """Before or after which call: of ``name`` in ``module``, where ``when`` says so."""

    module: str
    name: str
    after: bool = False
    when: Callable[..., bool] = lambda *_: True


def _is_commit(_: Any, sql: str, *__: Any) -> bool:
    return sql == "COMMIT"


def _unnamed(path: Any) -> bool:
    return bool(path.name.endswith(".tmp")) and path.parent.name == "tail"


def _tail(_: Any, path: Any) -> bool:
    return bool(path.parent.name == "tail")


def _publication(_: Any, __: Any, path: str, *___: Any) -> bool:
    return path == "/commit"


#: Every instant between two durable effects of a commit, in their order.
POINTS: Final = {
    "before the step": Point("labeling.live.shard", "Shard.take"),
    "before the file": Point("labeling.io.archive", "write_durably", when=_tail),
    "file written": Point("labeling.io.durable", "_sync", when=_unnamed),
    "file synced": Point("labeling.io.durable", "_sync", after=True, when=_unnamed),
    "file named": Point("labeling.io.archive", "write_durably", after=True, when=_tail),
    "before the commit": Point("labeling.live.writer", "Writer.commit"),
    "outbox written": Point("labeling.live.outbox", "Outbox.stage", after=True),
    "before COMMIT": Point("labeling.io.store.database", "Database.run", when=_is_commit),
    "after COMMIT": Point(
        "labeling.io.store.database", "Database.run", after=True, when=_is_commit
    ),
    "before sending": Point("labeling.io.kafka.writer", "TopicWriter.send"),
    "sent": Point("labeling.io.kafka.writer", "TopicWriter.send", after=True),
    "outbox cleared": Point("labeling.live.outbox", "Outbox.send", after=True),
    "before the group": Point("labeling.live.gather", "Gather.tell"),
    "group told": Point("labeling.live.gather", "Gather.tell", after=True),
}
#: Of a repair: its rows are not sent yet; sent, and nobody has answered; taken in.
REPAIRING: Final = {
    "before handing over": Point("http.client", "HTTPConnection.request", when=_publication),
    "handed over": Point("http.client", "HTTPConnection.request", after=True, when=_publication),
    "answered": Point("labeling.io.remote.recorder", "Recorder.fulfil"),
}
#: Of the flow, at the publication of another process: nothing is done; committed; topics written.
TAKING_IN: Final = {
    "before taking in": Point("labeling.io.endpoint.handler", "make_commit"),
    "taken in": Point("labeling.io.endpoint.commits", "_send"),
    "before the answer": Point("labeling.io.endpoint.handler", "make_commit", after=True),
}
_ALL: Final = {**POINTS, **REPAIRING, **TAKING_IN}


def arm(point: Point, times: int) -> None:
    """Let this process die at the point, when it is reached for the n-th time."""
    owner: Any = importlib.import_module(point.module)
    *outer, name = point.name.split(".")
    for part in outer:
        owner = getattr(owner, part)
    real = getattr(owner, name)
    left = times

    def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        here = point.when(*args)
        left -= here
        if here and not left and not point.after:
            os._exit(DIED)
        made = real(*args, **kwargs)
        if here and not left:
            os._exit(DIED)
        return made

    setattr(owner, name, deadly)


def main() -> None:
    """Take ``--die POINT:N`` off the arguments, arm it, and be the command line."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 9)
    args = sys.argv[1:]
    if args[:1] == ["--die"]:
        name, _, times = args[1].rpartition(":")
        arm(_ALL[name], int(times))
        args = args[2:]
    from labeling.cli.main import main as labeling  # noqa: PLC0415 - armed before it is imported

    labeling(args)


if __name__ == "__main__":
    main()
