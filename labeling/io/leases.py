"""Who may still need files of the archive: leases of readers, and one swapper at a time.

A reader takes a lease *before* it asks the store for its file list. Whoever takes names out of the
store looks for leases *after* that commit: one that is not there belongs to no reader that can have
seen the names. No clock and no counter is needed for that order.

Always holds: a lease ends with its process, whatever ends it (``flock``); a lease that is held is
seen by everybody who looks after ``reading`` was entered; of those who swap names of one store, one
at a time has its turn, and so of those who publish past hours, and of those who tell markers.

Not promised: leases across machines whose file system does not share ``flock``; nor that a lease
ends while a child that was forked without ``exec`` lives on.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from labeling.errors import DataError, StoreError
from labeling.io.durable import make_folder

#: The folder of leases inside an archive's.
READERS: Final = ".readers"
_SWAP: Final = ".swap"
_PUBLISHING: Final = ".publishing"
_TELLING: Final = ".notifying"


@contextmanager
def reading(root: Path) -> Iterator[str]:
    """Hold a lease for the block, entered before the store is asked for a file list.

    Args:
        root: the archive's folder.

    Yields:
        The lease's name.

    Raises:
        DataError: the folder cannot be written.

    Example:
        ``with leases.reading(archive.root): frame = archive.read(store.files())``
    """
    folder = root / READERS
    handle = None
    try:
        make_folder(folder)
        while handle is None:  # another name each time: whoever looks may take an unlocked one away
            path = folder / f"{os.getpid()}-{secrets.token_hex(8)}"
            handle = _lock(path, fcntl.LOCK_SH)
    except OSError as error:
        raise DataError(
            f"no lease can be taken in {folder}: {error.strerror}; a reader must be able to write "
            "there, so that no file is deleted under it"
        ) from error
    try:
        yield path.name
    finally:
        _leave(path, handle)


def live(root: Path) -> frozenset[str]:
    """Names of the leases that are held; files of those that are not are deleted.

    One that cannot be looked at (another user's) counts as held.
    """
    folder = root / READERS
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return frozenset(path.name for path in paths if _is_held(path))


@contextmanager
def alone(store: Path) -> Iterator[bool]:
    """Be the only one who swaps or deletes archive files of a store, for the block.

    Args:
        store: the store's file; the lock lies beside it.

    Yields:
        False where another one is at it; nothing may be swapped or deleted then.

    Raises:
        StoreError: the folder cannot be written.
    """
    with _unless_held(store.with_name(store.name + _SWAP)) as mine:
        yield mine


@contextmanager
def telling(store: Path) -> Iterator[bool]:
    """Be the only one who tells a store's markers to others; arguments and result as ``alone``."""
    with _unless_held(store.with_name(store.name + _TELLING)) as mine:
        yield mine


@contextmanager
def _unless_held(path: Path) -> Iterator[bool]:
    try:
        handle = _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        _leave(path, handle)


@contextmanager
def publishing(store: Path, *, dry: bool = False) -> Iterator[None]:
    """Be the only one who publishes hours that are not the stream's, for the block.

    Replays and repairs compare what they made with what is stored: of two at once the later would
    undo the other's. Waits for its turn.

    Args:
        store: the store's file; the lock lies beside it.
        dry: nothing will be published: there is nothing to wait for.

    Raises:
        StoreError: the folder cannot be written.
    """
    if dry:
        yield
        return
    path = store.with_name(store.name + _PUBLISHING)
    handle = None
    try:
        while handle is None:  # whoever had it before has taken the file away
            handle = _lock(path, fcntl.LOCK_EX)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        _leave(path, handle)


def _lock(path: Path, operation: int) -> int | None:
    """Make and lock a file; None where another holds it or has just taken it away."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    with suppress(BlockingIOError):
        fcntl.flock(handle, operation)
        if _is_at(path, handle):
            return handle
    os.close(handle)
    return None


def _leave(path: Path, handle: int) -> None:
    """Take the file away while it is locked, then unlock it."""
    try:
        path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _is_at(path: Path, handle: int) -> bool:
    """Whether the path still leads to the open file."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(handle))
    return False


def _is_held(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(path, handle):
            path.unlink()
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
