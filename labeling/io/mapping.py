"""Records as columns into events and rejects: the one stage that every format goes through.

Always holds: for every event that a block of the mapping gives, exactly one row comes out, in
``events`` or in ``rejects``; a bad element costs its own event only; of several faults the one
of the column that comes first in the contract is told; rows are in the order of the records,
and within a record by ``index``. Nothing depends on the other records of a batch.

Not promised: an event per record. A block's ``when``, or an empty list, gives none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from labeling.config.mapcheck import REST
from labeling.config.shape import record_shape
from labeling.config.source import Emit, SourceConfig
from labeling.errors import ConfigError
from labeling.io.mapping_fill import Filler, hash_text
from labeling.io.mapping_issues import Clock, Issues
from labeling.io.mapping_numbers import as_text
from labeling.io.mapping_view import STRIDE, Records, View, explode, matches
from labeling.model.event import REQUIRED, TS, event_schema
from labeling.model.reject import DECODED_ORIGIN, POSITION_SCHEMA


@dataclass(frozen=True)
class Mapped:
    """``events``: the contract and the decoder's origin, ``rows`` their records; ``faults``."""

    events: pl.DataFrame
    rows: pl.Series
    faults: pl.DataFrame


class Mapper:
    """A source's mapping, made once: every decision about it is taken here.

    Raises:
        ConfigError: a constant is not of its column's type, or a field is read in two ways.
    """

    def __init__(self, source: SourceConfig, extra: Mapping[str, str] | None = None) -> None:
        self.source = source
        self.schema = event_schema(extra)
        try:
            self.shape = record_shape(source, self.schema)
            self._blocks = [
                _Block(source, number, emit, self.schema)
                for number, emit in enumerate(source.emits())
            ]
        except ValueError as error:
            raise ConfigError(f"[[source]] {source.name!r}: {error}") from None

    def __call__(
        self,
        records: Records,
        *,
        rest: Callable[[pl.Series], pl.Series],
        clock: Clock | None = None,
        clean: bool = False,
    ) -> Mapped:
        """Map a batch.

        Args:
            records: fields and positions, row by row.
            rest: gives the rest of the records (JSON) for record numbers; called for ``props``.
            clock: for ``future_timestamp``; None: no time is too far ahead.
            clean: no text of the fields holds a NUL.
        """
        parts = [block.run(records, rest, clock, clean=clean) for block in self._blocks]
        return parts[0] if len(parts) == 1 else together(parts)


def together(parts: Sequence[Mapped]) -> Mapped:
    """Several parts of one batch as one, in the order of the records."""
    rows = pl.concat([part.rows for part in parts])
    events = pl.concat([part.events for part in parts])
    order = pl.DataFrame({"row": rows, "index": events["index"]}).select(
        pl.arg_sort_by("row", "index", maintain_order=True)
    )
    faults = pl.concat([part.faults for part in parts]).sort("row", "index")
    return Mapped(events[order.to_series()], rows.gather(order.to_series()), faults)


class _Block:
    """One block of a mapping: which rows it gives and how their columns are filled."""

    def __init__(
        self, source: SourceConfig, number: int, emit: Emit, schema: Mapping[str, pl.DataType]
    ) -> None:
        self.source, self.number, self.emit, self.schema = source, number, emit, schema
        self.tokens = dict.fromkeys(source.null_tokens)
        self.fillers: dict[str, Filler] = {}
        self.derived: dict[str, tuple[str, ...]] = {}
        for name, spec in emit.map.items():
            if spec.derive is not None:
                self.derived[name] = spec.derive
            elif spec.path != REST:
                filler = Filler(name, schema[name], spec, source.timezone, self.tokens)
                filler.check_constants()  # one that its column cannot hold is told now
                self.fillers[name] = filler
        own = source.emit[number].map if source.emit else {}
        self.several = emit.explode is not None or number > 0
        # Of features the id is the item's, also where a record has several.
        self.suffixed = self.several and "event_id" not in own and source.kind == "events"
        self.wants_rest = "props" in emit.map and emit.map["props"].path == REST

    def run(
        self,
        records: Records,
        rest: Callable[[pl.Series], pl.Series],
        clock: Clock | None,
        *,
        clean: bool,
    ) -> Mapped:
        view, refused = explode(records, self.emit)
        view = view.filter(matches(view, self.tokens))
        filled = {name: f.fill(view, clean=clean) for name, f in self.fillers.items()}
        columns = {name: one.values for name, one in filled.items()}
        issues = Issues(view, self._index(view))
        if "event_type" in columns:
            columns["event_type"], unmapped = self._types(columns["event_type"])
        self._complete(columns, view, issues.index, rest)
        for name in self.schema:
            if name in filled:
                issues.unreadable(name, filled[name], self.schema[name])
            if name in REQUIRED:
                issues.missing(name, columns[name])
            if name == "event_ts" and clock is not None:
                issues.future(columns[name], clock)
            if name == "event_type":
                issues.unmapped(unmapped, filled["event_type"].shown)
        faults = issues.faults(refused, self.number * STRIDE).sort("row", "index")
        rows = view.record_rows()
        if issues.bad is not None:
            rows = rows.filter(~issues.bad)
        return Mapped(self._events(columns, view, issues), rows, faults)

    def _index(self, view: View) -> pl.Series:
        start = self.number * STRIDE
        if view.index is not None:
            return (view.index + start).alias("index")
        return pl.Series("index", [start], dtype=pl.Int32).new_from_index(0, view.height)

    def _types(self, logged: pl.Series) -> tuple[pl.Series, pl.Series | None]:
        """Our names of the logged types, and which of them ``only_mapped`` refuses."""
        types = self.source.types
        unmapped = None
        if self.source.only_mapped:
            unmapped = ~logged.is_in(list(types)) & logged.is_not_null()
        return (logged.replace(types) if types else logged), unmapped

    def _complete(
        self,
        columns: dict[str, pl.Series],
        view: View,
        index: pl.Series,
        rest: Callable[[pl.Series], pl.Series],
    ) -> None:
        """The columns that are made of others: position, rest, hashes, the id."""
        if view.index is not None and "position" not in self.emit.map:
            columns["position"] = view.index
        if self.wants_rest:
            columns["props"] = rest(view.record_rows())
        for name, others in self.derived.items():
            columns[name] = hash_text(_id_text(columns[other]) for other in others)
        if "event_id" not in columns or "event_id" not in self.emit.map:
            columns["event_id"] = self._position_id(view, index)
        elif self.suffixed:
            pair = pl.DataFrame({"id": columns["event_id"], "index": index})
            columns["event_id"] = pair.select(
                pl.when(pl.col("id") != "").then(pl.concat_str("id", "index", separator=":"))
            ).to_series()

    def _position_id(self, view: View, index: pl.Series) -> pl.Series:
        names = ("cluster", "topic", "partition", "offset")
        frame = pl.DataFrame({name: view.position(name) for name in names}).with_columns(index)
        cluster = (
            pl.when(pl.col("cluster") != "").then(pl.col("cluster") + "/").otherwise(pl.lit(""))
        )
        place = pl.concat_str("topic", "partition", "offset", separator="/")
        suffix = pl.concat_str(pl.lit(":"), "index") if self.several else pl.lit("")
        return frame.select(pl.concat_str(cluster.fill_null(""), place, suffix)).to_series()

    def _events(self, columns: Mapping[str, pl.Series], view: View, issues: Issues) -> pl.DataFrame:
        made = {name: columns[name] for name in self.schema if name in columns}
        made |= {name: view.position(name) for name in POSITION_SCHEMA}
        made["index"] = issues.index
        frame = pl.DataFrame([values.rename(name) for name, values in made.items()])
        if issues.bad is not None:
            frame = frame.filter(~issues.bad)
        types = {**self.schema, **DECODED_ORIGIN}
        values = {name: pl.col(name) for name in made} | {"source": pl.lit(self.source.name)}
        nothing = pl.lit(None)
        return frame.select(
            values.get(name, nothing).cast(dtype).alias(name) for name, dtype in types.items()
        )


def _id_text(values: pl.Series) -> pl.Series:
    """The text that a column has in a derived id: times as epoch ms."""
    return as_text(values.dt.epoch("ms") if values.dtype == TS else values)
