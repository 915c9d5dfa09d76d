"""Decoded events into the archive, each identity once.

Always holds: of the events of one identity the first archived stays, then the first of the
input; the rest are counted as duplicates and not archived, and where their content differs they
are listed as conflicts. Every event comes out as exactly one of too late, duplicate, accepted.
The order of events that are not of one identity changes nothing but the names of files.

Not promised: that the written files are part of the archive. The caller's commit makes them so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from labeling.engine.keys import user_key
from labeling.io.archive import Archive, ArchiveFile, hour_of, hour_start
from labeling.io.feature_archive import prepared
from labeling.io.store.columns import POSITION
from labeling.model.event import IDENTITY, event_schema

#: The archive's order, and ``user_id`` where two users share a key: equal identities are adjacent.
_ORDER: Final = ("user_key", "event_ts", "event_id", "user_id")
_PLACE: Final = ("user_key", "event_ts")
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Taken:
    """What became of a batch of events.

    Attributes:
        files: written and synced, for the commit to name.
        accepted, too_late, duplicate: how many events each; they add up to the batch.
        conflicts: rows of the store's ``conflicts``.
        late: the too late ones, rows of the store's ``late_events``.
        repeated: identity and origin of the duplicates, in no promised order.
    """

    files: tuple[ArchiveFile, ...]
    accepted: int
    too_late: int
    duplicate: int
    conflicts: pl.DataFrame
    late: pl.DataFrame
    repeated: pl.DataFrame


@dataclass(frozen=True)
class Intake:
    """How events are taken in under one commit.

    Args:
        archive: where to.
        files_of: archive files that can hold an event of ``[from, to)``; the store's.
        commit: the number of the commit that will name the files; None where it is not known yet.
        stem: names for the files, a new one each time.
        live_since: first event time that a live flow reads: what is taken in at or after it is
            marked too late and healed by replay. None: there is no live flow.
    """

    archive: Archive
    files_of: Callable[[datetime, datetime], Sequence[ArchiveFile]]
    commit: int | None
    stem: Callable[[], str]
    live_since: datetime | None = None

    def take(self, events: pl.DataFrame) -> Taken:
        """Archive what is new of a batch.

        Args:
            events: columns of the contract, declared ones and the decoder's origin; the earlier
                of two rows of one identity is the one that stays.

        Raises:
            DataError: an archived file is damaged, or the disk refuses.
        """
        height = events.height
        marked = self._marked(events)
        del events  # a batch is large: no second copy of it while it is sorted
        marked = marked.sort(hour_of(), *_ORDER, maintain_order=True)
        fresh, again, clashes = self._first_of_input(marked)
        del marked
        files, late, repeated, conflicts = [], [fresh.clear()], [again], [clashes]
        hours = list(_by_hour(fresh))
        archived = self._archived([start for start, _ in hours])
        for start, part in hours:
            new, known, clashes = self._not_archived(part, start, archived[start])
            repeated.append(known)
            conflicts.append(clashes)
            late.append(new.filter(arrival="too_late"))
            if new.height:
                source = new.item(0, "source")
                files.append(
                    self.archive.write(new, start, self.stem(), kind="import", source=source)
                )
        too_late, duplicate = pl.concat(late), pl.concat(repeated)
        return Taken(
            files=tuple(files),
            accepted=height - too_late.height - duplicate.height,
            too_late=too_late.height,
            duplicate=duplicate.height,
            conflicts=pl.concat(conflicts),
            late=too_late,
            repeated=duplicate.select(*IDENTITY, *POSITION),
        )

    def _marked(self, events: pl.DataFrame) -> pl.DataFrame:
        """The archive's columns, arrival and commit among them."""
        arrival = pl.lit("on_time")
        if self.live_since is not None:
            owned = pl.col("event_ts") >= self.live_since
            arrival = pl.when(owned).then(pl.lit("too_late")).otherwise(arrival)
        marks = {"arrival": arrival, "archived": pl.lit(self.commit, pl.Int64)}
        marked = prepared(self.archive, events.with_columns(user_key(), **marks))
        return marked.select(list(self.archive.schema))

    def _first_of_input(
        self, events: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """First of each identity, the others, and the conflicts between the two."""
        same = pl.all_horizontal(pl.col(c) == pl.col(c).shift() for c in _ORDER)
        repeat = events.select(same.fill_null(value=False)).to_series()
        if not repeat.any():
            return events, events.clear(), self._conflicts(events.clear(), events.clear())
        first, again = events.filter(~repeat), events.filter(repeat)
        return first, again, self._conflicts(first, again)

    def _archived(self, hours: Sequence[datetime]) -> dict[datetime, list[ArchiveFile]]:
        """For each hour the archive's files that can hold an event of it."""
        found: dict[datetime, list[ArchiveFile]] = {hour: [] for hour in hours}
        if not hours:
            return found
        for file in self.files_of(hours[0], hours[-1] + _HOUR):
            if file.hour is not None:
                found.get(file.hour, []).append(file)
                continue
            for hour, files in found.items():
                if file.touches(hour, hour + _HOUR, None):
                    files.append(file)
        return found

    def _not_archived(
        self, events: pl.DataFrame, hour: datetime, files: Sequence[ArchiveFile]
    ) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Events of one hour that the archive has not, those it has, and the conflicts."""
        end = hour + _HOUR
        none = (events, events.clear(), self._conflicts(events.clear(), events.clear()))
        if not files:
            return none
        users = (events["user_key"][0], events["user_key"][-1])
        places = self.archive.read(files, _PLACE, from_ts=hour, to_ts=end, user_keys=users)
        hits = events.select(_PLACE).join(places, on=_PLACE, how="semi")
        if hits.is_empty():
            return none
        lazy = self.archive.scan(files, from_ts=hour, to_ts=end, user_keys=users)
        with self.archive.damage_explained(files):
            archived = lazy.join(hits.lazy(), on=_PLACE, how="semi").collect()
        new = events.join(archived, on=IDENTITY, how="anti", maintain_order="left")
        known = events.join(archived, on=IDENTITY, how="semi", maintain_order="left")
        return new, known, self._conflicts(archived, known)

    def _conflicts(self, kept: pl.DataFrame, dropped: pl.DataFrame) -> pl.DataFrame:
        """Pairs of one identity whose content differs, sorted."""
        content = [c for c in event_schema(self.archive.extra) if c not in IDENTITY]
        pairs = dropped.join(kept, on=IDENTITY, how="inner", suffix="_kept")
        differs = pl.any_horizontal(pl.col(c).ne_missing(pl.col(f"{c}_kept")) for c in content)
        return (
            pairs.filter(differs)
            .select(
                *IDENTITY,
                *(pl.col(f"{c}_kept").alias(f"kept_{c}") for c in POSITION),
                *(pl.col(c).alias(f"dropped_{c}") for c in POSITION),
            )
            .sort(pl.all())
        )


def _by_hour(events: pl.DataFrame) -> Iterator[tuple[datetime, pl.DataFrame]]:
    """Events sorted by hour, in slices of one hour each (no copies)."""
    lengths = events.select(hour=hour_of())["hour"].rle().struct.unnest()
    offset = 0
    for length, hour in lengths.select("len", "value").iter_rows():
        yield hour_start(hour), events.slice(offset, length)
        offset += length
