"""Calls of another process, made in one commit.

Always holds: all of a parcel's calls are made, in order, or none; only calls that write what
imports, compactions and replays write are made; one frame is in memory at a time. What the commit
publishes is heard as the flow's own is.

Not promised: that the commit is made at once. It takes its turn behind those that asked before.
Nor that topics have it when it is made.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import IO, Any, Final

from labeling.errors import DataError, StoreError
from labeling.io.remote.parcel import Unpacker
from labeling.io.remote.recorder import CALLS
from labeling.io.store import Store

_LOG: Final = logging.getLogger("labeling")


def make_commit(store: Store, parcel: IO[bytes]) -> dict[str, Any]:
    """Make the commit that a parcel describes.

    Args:
        store: a session of its own.
        parcel: from ``labeling.io.remote.recorder``.

    Returns:
        ``commit``: its number; ``hours``: the place of each ``set_hours`` among the calls to
        pairs of an hour and its rows.

    Raises:
        LabelingError: what a call raised; nothing is written.
    """
    opened = Unpacker(parcel)
    told: dict[str, dict[datetime, int]] = {}
    with store.commit(str(opened.value["what"]), run=int(opened.value["run"])) as commit:
        for place, call in enumerate(opened.value["calls"]):
            name, arguments, more = opened.unpack(call)
            if name not in CALLS:
                raise StoreError(f"{name} is not for other processes to call")
            result = getattr(commit, name)(*arguments, **more)
            if name == "set_hours":
                told[str(place)] = result
        number = commit.number
    _send(store)
    hours = {p: [(h.isoformat(), n) for h, n in rows.items()] for p, rows in told.items()}
    return {"commit": number, "hours": hours}


def _send(store: Store) -> None:
    """Tell the topics. Where they cannot be told the commit stands, and the flow ends by itself."""
    try:
        store.listener.send()
    except DataError as error:
        _LOG.warning("published, and not sent yet: %s", error)
