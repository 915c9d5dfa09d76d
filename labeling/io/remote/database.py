"""The reading half of a store's file, asked over HTTP.

Always holds: a frame is what the same SQL gives where the file is open, column types included,
as of one commit.

Not promised: that two questions are answered as of the same commit, or any writing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import polars as pl
import pyarrow as pa

from labeling.errors import StoreError
from labeling.io.remote.client import Client
from labeling.io.remote.parcel import Packer
from labeling.io.store.database import Database
from labeling.model.event import TS


class RemoteDatabase(Database):
    """A file that another process has open.

    Args:
        path: the file.
        client: of the process that serves it.
        patient: questions are a program's own and have no limit on time.
    """

    def __init__(self, path: Path, client: Client, *, patient: bool) -> None:
        self.path = path
        self.client = client
        self._patient = patient
        self._given: dict[str, pl.DataFrame] = {}

    def close(self) -> None:
        """Nothing is held."""

    def beside(self) -> RemoteDatabase:
        """Another session."""
        return RemoteDatabase(self.path, self.client, patient=self._patient)

    def run(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Refused: writing goes by commits.

        Raises:
            StoreError: always.
        """
        raise StoreError(f"process {self.client.live.pid} alone writes this store: {sql} {params}")

    def check(self, sql: str) -> None:
        """Nothing: the other side does."""

    def frame(self, sql: str, params: Sequence[Any] = ()) -> pl.DataFrame:
        """The result as a frame; times with a zone in ms, UTC."""
        with parcel_file(self.spill) as stream:
            told = {
                "sql": sql,
                "params": list(params),
                "given": self._given,
                "patient": self._patient,
            }
            with Packer(stream) as packer:
                packer.close(packer.pack(told))
            with (
                self.client.send("/sql", stream) as answer,
                pa.ipc.open_stream(answer) as reader,
            ):
                table = reader.read_all()
        frame = pl.from_arrow(table)
        if not isinstance(frame, pl.DataFrame):
            raise TypeError("a table became a series")
        return frame.with_columns(pl.col(pl.Datetime("us", "UTC")).cast(TS))

    @contextmanager
    def given(self, name: str, frame: pl.DataFrame) -> Iterator[None]:
        """Let SQL read ``frame`` as ``name`` inside the block."""
        self._given[name] = frame
        try:
            yield
        finally:
            del self._given[name]


@contextmanager
def parcel_file(folder: Path) -> Iterator[IO[bytes]]:
    """A file without a name: whatever happens, nothing of it stays.

    Raises:
        StoreError: the disk refuses.
    """
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            yield stream
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}") from error
