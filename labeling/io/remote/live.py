"""The file beside a store that says which process serves it.

Always holds: only its owner can read it, since who has its token may write the store; it appears
whole. A file whose process is gone is no error: nobody answers at its address, and it is ignored.

Not promised: that the process still answers a moment later.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from labeling.errors import StoreError

_SUFFIX: Final = ".live"


@dataclass(frozen=True, slots=True)
class Live:
    """Who serves a store: ``address`` (host:port), ``pid``, ``token``, ``run`` of the store."""

    address: str
    pid: int
    token: str
    run: int


def live_path(store: Path) -> Path:
    """The file of a store."""
    return store.with_name(store.name + _SUFFIX)


def write_live(store: Path, live: Live) -> None:
    """Say who serves the store.

    Raises:
        StoreError: the folder cannot be written.
    """
    path = live_path(store)
    half = path.with_name(f".{path.name}.{live.pid}")
    try:
        half.unlink(missing_ok=True)
        handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(asdict(live), stream)
        half.rename(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error


def read_live(store: Path) -> Live | None:
    """Who serves the store; None where nobody says so, or not to this user."""
    with suppress(OSError, ValueError, TypeError):
        return Live(**json.loads(live_path(store).read_text(encoding="utf-8")))
    return None


def remove_live(store: Path, live: Live) -> None:
    """Take the file away, unless it is another's by now."""
    if read_live(store) == live:
        live_path(store).unlink(missing_ok=True)
