"""Files that are whole and on disk under their name, or not there at all.

Always holds: a name appears only after what it names has been synced (temporary name, fsync,
rename, fsync of the folder).

Not promised: that nothing is left under a temporary name after a crash.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import polars as pl

from labeling.errors import DataError

ROW_GROUP: Final = 65_536


def write_durably(frame: pl.DataFrame, path: Path) -> int:
    """Write Parquet so that after return it is on disk under ``path``; its size in bytes."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        make_folder(path.parent)
        frame.write_parquet(
            temporary,
            compression="zstd",
            compression_level=1,
            statistics=True,
            row_group_size=ROW_GROUP,
        )
        _sync(temporary)
        temporary.rename(path)
        _sync(path.parent)
    except (OSError, pl.exceptions.ComputeError) as error:
        temporary.unlink(missing_ok=True)
        raise DataError(
            f"file {path} could not be written: {str(error).splitlines()[0]}; free some "
            "space or fix the folder's permissions and run this again",
            transient=True,
        ) from error
    return path.stat().st_size


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a file that was written whole its name, durably, over an older file of that name.

    Whoever has the older one open goes on reading it.

    Args:
        temporary: in the same folder.
        path: the name.
    """
    _sync(temporary)
    temporary.rename(path)
    _sync(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and the missing ones above it, each durably."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
