"""Features as they lie on disk: found by request and item, and never held in memory.

Always holds: what is found is a function of the files given, of the rows that ask, and of nothing
else; of several records the first by ``(served_ts, features_key)`` counts (clause S3).

Not promised: that a record that was not archived yet is found. Requests and items are told apart by
128 bits of their hashes together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from labeling.config.features import FEATURES_KEY, keeps_props
from labeling.config.settings import Config
from labeling.engine.keys import string_key
from labeling.io import leases
from labeling.io.archive import ArchiveFile
from labeling.io.feature_archive import feature_archives
from labeling.io.pruned import open_groups
from labeling.io.store import lookup
from labeling.io.store.database import Database
from labeling.model.event import TS, event_schema
from labeling.products.features.keys import FeatureKeys

#: What asks for features. ``low_ts`` and ``high_ts`` are inclusive.
WANTED: Final = {"request_id": pl.String(), "item_id": pl.String(), "low_ts": TS, "high_ts": TS}
#: What is found of a wanted row; ``row`` is its place in ``wanted``, from 0.
FOUND: Final = {"row": pl.UInt32(), "served_ts": TS, FEATURES_KEY: pl.Int64()}
#: What finds a record again.
EXACT: Final = ("request_id", "item_id", "served_ts", FEATURES_KEY)
#: About so much is held of a source's keys, and as much of which file has which request.
MEMORY_BYTES: Final = 256_000_000
#: Records that are compared with the rows at a time.
_CHUNK: Final = 500_000
_PAIR: Final = ("user_key", "item_key")
_PLACE: Final = ("file", "group", "at")
_MS: Final = timedelta(milliseconds=1)


class FeatureFiles:
    """The features of all sources of a configuration.

    Args:
        config: names the sources and the archive.
        memory_bytes: about so much is held of each source's keys.
    """

    def __init__(self, config: Config, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self._config = config
        archives = feature_archives(config)
        self._keys = {name: FeatureKeys(a, memory_bytes) for name, a in archives.items()}

    def schema(self, source: str) -> dict[str, pl.DataType]:
        """The feature columns of a source in declared order, ``props`` last where it is kept."""
        configured = self._config.source(source)
        typed = event_schema(configured.features)
        names = [*configured.features, *(["props"] if keeps_props(configured) else [])]
        return {name: typed[name] for name in names}

    def reading(self, source: str) -> AbstractContextManager[str]:
        """Hold a lease on a source's files, entered before the store is asked for their list.

        Who gives ``find`` or ``exact`` a list of files needs it, beside the flow.
        """
        return leases.reading(self._keys[source].archive.root)

    def find(
        self,
        files: Database | Sequence[ArchiveFile],
        source: str,
        wanted: pl.DataFrame,
        *,
        replay: bool,
        columns: Sequence[str] = (),
    ) -> pl.DataFrame:
        """The features that count for rows: of each the first by (served_ts, features_key).

        Args:
            files: ``commit.database`` (or a store's), which names the files that this very
                transaction sees; or the files themselves.
            source: of kind ``features``.
            wanted: ``WANTED``; ``served_ts`` must lie in ``[low_ts, high_ts]``. Rows with a null
                request_id or item_id find nothing.
            replay: records that were too late for the stream count as well, and no key is kept in
                memory for the next call.
            columns: feature columns (and ``props``) to read with them.

        Returns:
            ``FOUND`` and ``columns``, sorted by ``row``; a row that found nothing is left out.

        Raises:
            DataError: a file is missing or damaged.
        """
        rows = _keyed(wanted, ("low_ts", "high_ts"))
        with self._leased(files, source):
            known = self._files(files, source, rows)
            records = self._records(source, known, rows, remember=not replay)
            best: pl.DataFrame | None = None
            for chunk in _chunks(records):
                at = pl.col("served_ts")
                found = rows.join(chunk, on=_PAIR).filter(
                    at >= pl.col("low_ts"),
                    at <= pl.col("high_ts"),
                    pl.lit(replay) | ~pl.col("too_late"),
                )
                best = _first(found if best is None else pl.concat([best, found]))
            return self._with_columns(source, known, best, columns, [*FOUND, *columns])

    def exact(
        self, files: Database | Sequence[ArchiveFile], source: str, keys: pl.DataFrame
    ) -> pl.DataFrame:
        """The feature columns of records that were found before.

        Args:
            files: as for ``find``.
            source: likewise.
            keys: ``request_id``, ``item_id``, ``served_ts``, ``features_key``; further columns are
                left alone.

        Returns:
            As many rows as ``keys``, in its order: the feature columns of the source (and
            ``props`` where it keeps them), typed; all null where the record is not there any more.

        Raises:
            DataError: a file is missing or damaged.
        """
        names = list(self.schema(source))
        asked = keys.select(EXACT).with_columns(low_ts="served_ts", high_ts="served_ts")
        rows = _keyed(asked, ("served_ts", FEATURES_KEY, "low_ts", "high_ts"))
        with self._leased(files, source):
            known = self._files(files, source, rows)
            best: pl.DataFrame | None = None
            on = [*_PAIR, "served_ts", FEATURES_KEY]
            for chunk in _chunks(self._records(source, known, rows, remember=False)):
                found = rows.join(chunk, on=on)
                best = _first(found if best is None else pl.concat([best, found]))
            there = self._with_columns(source, known, best, names, ["row", *names])
        every = pl.DataFrame({"row": pl.int_range(keys.height, dtype=pl.UInt32, eager=True)})
        return every.join(there, on="row", how="left", maintain_order="left").select(names)

    def _leased(
        self, files: Database | Sequence[ArchiveFile], source: str
    ) -> AbstractContextManager[object]:
        return self.reading(source) if isinstance(files, Database) else nullcontext()

    def _files(
        self, files: Database | Sequence[ArchiveFile], source: str, rows: pl.DataFrame
    ) -> list[ArchiveFile]:
        """The files that can hold what counts for the rows."""
        if rows.is_empty():
            return []
        low, high = rows["low_ts"].min(), rows["high_ts"].max()
        if not isinstance(low, datetime) or not isinstance(high, datetime):
            return []
        if isinstance(files, Database):
            return lookup.feature_files(files, source, low, high + _MS)
        return [file for file in files if file.touches(low, high + _MS, None)]

    def _records(
        self, source: str, files: Sequence[ArchiveFile], rows: pl.DataFrame, *, remember: bool
    ) -> Iterator[pl.DataFrame]:
        requests = np.unique(rows["user_key"].to_numpy())
        return self._keys[source].records(files, requests, remember=remember)

    def _with_columns(
        self,
        source: str,
        files: Sequence[ArchiveFile],
        found: pl.DataFrame | None,
        columns: Sequence[str],
        names: Sequence[str],
    ) -> pl.DataFrame:
        """What was found with columns of the files, read by row group."""
        keys = self._keys[source]
        schema = {**FOUND, **keys.archive.schema}
        if found is None or found.is_empty():
            return pl.DataFrame(schema={name: schema[name] for name in names})
        if columns:
            parts = []
            for (number,), of_file in found.partition_by("file", as_dict=True).items():
                with open_groups(keys.archive, files[int(str(number))], keys.tally) as opened:
                    for (group,), mine in of_file.partition_by("group", as_dict=True).items():
                        read = opened.read(int(str(group)), columns, mine["at"])
                        parts.append(pl.concat([mine, read], how="horizontal"))
            found = pl.concat(parts)
        return found.sort("row").select(names)


def _keyed(wanted: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The rows that can find something, with ``row`` and the hashes of request and item."""
    keys = (string_key("request_id").alias("user_key"), string_key("item_id").alias("item_key"))
    rows = wanted.with_row_index("row").select("row", *keys, *columns)
    return rows.drop_nulls(["user_key", "item_key", *columns])


def _chunks(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same records in fewer frames."""
    held: list[pl.DataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(f.height for f in held) >= _CHUNK:
            yield pl.concat(held)
            held = []
    if held:
        yield pl.concat(held)


def _first(found: pl.DataFrame) -> pl.DataFrame:
    """Of each row the first; of a record that lies there twice, where it lies first."""
    ordered = found.sort("row", "served_ts", FEATURES_KEY, *_PLACE)
    return ordered.unique("row", keep="first", maintain_order=True)
