"""A copy of the store for other tools.

Always holds: the copy is the store at one commit, whole, in the storage version that DuckDB 1.2 and
later open; it appears under its name when it is finished; commits go on while it is made.

Not promised: that it is small or quick: every row is read and written.
"""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import Final

import duckdb

from labeling.errors import StoreError
from labeling.io.store.database import STORAGE_VERSION, Database, quoted

#: Copies in the folder of spills; what a process that was killed has left there may be removed.
STAGED: Final = "snapshot_*"


def stage(db: Database) -> tuple[Path, int]:
    """Copy the store into its folder of spills; whoever calls takes the file from there.

    Args:
        db: a session of its own, outside any transaction.

    Returns:
        The file, and the last commit that is in it.

    Raises:
        StoreError: the disk is full, or the folder cannot be written.
    """
    name = f"snapshot_{secrets.token_hex(4)}"
    path = db.spill / f"{name}.duckdb"
    try:
        db.spill.mkdir(exist_ok=True)
        with db.explained():
            db.run(f"ATTACH {quoted(path)} AS {name} (STORAGE_VERSION '{STORAGE_VERSION}')")
            try:
                db.run(f"COPY FROM DATABASE store TO {name}")
                commit = db.value(f"SELECT max(commit) FROM {name}.commits")
            finally:
                db.run(f"DETACH {name}")
    except OSError as error:
        raise StoreError(f"{db.spill} cannot be written: {error.strerror}") from error
    except (StoreError, duckdb.Error):
        path.unlink(missing_ok=True)
        raise
    return path, int(commit or 0)


def hand_over(staged: Path, path: Path, *, force: bool = False) -> None:
    """Move a staged copy to where it is wanted.

    Args:
        staged: from ``stage``.
        path: its name from now on.
        force: also over a file that is there.

    Raises:
        StoreError: the file exists, or cannot be written; the staged copy is gone either way.
    """
    half = path.with_name(f".{path.name}.tmp")
    try:
        if path.exists() and not force:
            raise StoreError(f"{path} exists; name another file, or replace it with --force")
        shutil.move(staged, half)
        half.rename(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        staged.unlink(missing_ok=True)
        half.unlink(missing_ok=True)
