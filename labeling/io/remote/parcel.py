"""A parcel: one value of plain data, frames and the store's own types, as a ZIP file.

Always holds: what is packed is unpacked equal, types of columns included; a frame is in memory
only while it is packed or unpacked; a parcel that was cut short cannot be opened; unpacking makes
nothing but the types below.

Not promised: a place for other types. Packing refuses them.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import IO, Any, Final, Self

import polars as pl

from labeling.errors import StoreError
from labeling.io.archive import ArchiveFile
from labeling.io.store.commit import Counts
from labeling.io.store.repairs import Cost, Repaired
from labeling.model.table import RuleTable, SampleOf

CONTENT_TYPE: Final = "application/zip"
_VALUE: Final = "value.json"
#: The fields of a table that are columns with their types.
_SCHEMAS: Final = ("key", "values")
_RECORDS: Final = {
    "file": ArchiveFile,
    "counts": Counts,
    "repaired": Repaired,
    "cost": Cost,
    "sample": SampleOf,
}


class Packer:
    """Writes a parcel into a file, frame by frame; ``close`` writes the value.

    Use as a context manager: without ``close`` it leaves a parcel that cannot be opened.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED)
        self._frames = 0

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the file."""
        self._zip.close()

    def pack(self, value: Any) -> Any:
        """Write the frames inside a value; what stands for it in JSON.

        Raises:
            TypeError: a type that has no place in a parcel.
        """
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.pack(each) for each in value]
        if isinstance(value, Mapping):
            return {"map": [[self.pack(k), self.pack(v)] for k, v in value.items()]}
        return self._packed(value)

    def _packed(self, value: Any) -> dict[str, Any]:
        if isinstance(value, datetime):
            return {"ts": value.astimezone(UTC).isoformat()}
        if isinstance(value, pl.DataFrame):
            return {"frame": self._frame(value)}
        if isinstance(value, RuleTable):
            parts = {f.name: getattr(value, f.name) for f in fields(value)}
            shapes = {k: self._frame(pl.DataFrame(schema=dict(parts.pop(k)))) for k in _SCHEMAS}
            return {"table": {k: self.pack(v) for k, v in parts.items()}, "of": shapes}
        for name, kind in _RECORDS.items():
            if isinstance(value, kind):
                return {name: {f.name: self.pack(getattr(value, f.name)) for f in fields(kind)}}
        raise TypeError(f"{type(value).__name__} has no place in a parcel")

    def _frame(self, frame: pl.DataFrame) -> int:
        number = self._frames
        self._frames += 1
        with self._zip.open(f"{number}.arrow", "w", force_zip64=True) as member:
            frame.write_ipc_stream(member)
        return number

    def close(self, packed: Any) -> None:
        """End the parcel with its value, as ``pack`` gave it."""
        self._zip.writestr(_VALUE, json.dumps(packed))
        self._zip.close()


class Unpacker:
    """Reads a parcel: ``value`` as it was packed, whose parts ``unpack`` restores.

    Raises:
        StoreError: it is no parcel, or was cut short.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        try:
            self._zip = zipfile.ZipFile(stream)
            self.value: Any = json.loads(self._zip.read(_VALUE))
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise StoreError(f"this is no whole parcel: {error}") from error

    def unpack(self, packed: Any) -> Any:
        """A part as it was before packing; its frames are read now."""
        if isinstance(packed, list):
            return [self.unpack(each) for each in packed]
        if not isinstance(packed, dict):
            return packed
        if "map" in packed:
            return {self.unpack(k): self.unpack(v) for k, v in packed["map"]}
        if "ts" in packed:
            return datetime.fromisoformat(packed["ts"])
        if "frame" in packed:
            return self._frame(packed["frame"])
        if "table" in packed:
            rest = {k: self.unpack(v) for k, v in packed["table"].items()}
            sets = {k: frozenset(v) for k, v in rest.items() if isinstance(v, list)}
            shapes = {k: dict(self._frame(n).schema) for k, n in packed["of"].items()}
            return RuleTable(**{**rest, **sets, **shapes})
        for name, kind in _RECORDS.items():
            if name in packed:
                return kind(**{k: self.unpack(v) for k, v in packed[name].items()})
        raise StoreError(f"a parcel of another version: {sorted(packed)}")

    def _frame(self, number: int) -> pl.DataFrame:
        with self._zip.open(f"{int(number)}.arrow") as member:
            return pl.read_ipc_stream(member)
