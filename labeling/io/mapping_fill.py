"""One column of the event contract filled from a view, as its spec says.

Always holds: a ``Filled`` tells apart what was not there (null, not ``present``) and what could
not be read (null, ``present``); an alternative of ``first_of`` that is present counts, readable
or not, and those behind it are not looked at.

Not promised: which of the three times of a ``corrected`` one was wrong beyond the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from labeling.config.source import Spec
from labeling.engine.keys import string_key
from labeling.io.mapping_numbers import as_text
from labeling.io.mapping_times import in_range
from labeling.io.mapping_values import How, read_values
from labeling.io.mapping_view import View, blank


@dataclass(frozen=True)
class Filled:
    """A column's values; ``shown`` is what they were read from, null where there was nothing."""

    values: pl.Series
    shown: pl.Series
    how: How

    def faults(self) -> pl.Series | None:
        """The rows that had a value which cannot be read; None where there is none."""
        if self.values.null_count() == self.shown.null_count():
            return None
        return self.values.is_null() & self.shown.is_not_null()


@dataclass(frozen=True)
class Filler:
    """Fills the column ``name`` of type ``dtype`` by ``spec``; made once per block."""

    name: str
    dtype: pl.DataType
    spec: Spec
    timezone: str | None
    null_tokens: Mapping[str, None]

    def check_constants(self) -> None:
        """Read every ``const`` of the spec once, those inside ``first_of`` and ``corrected`` too.

        Raises:
            ValueError: a constant is not of the column's type.
        """
        for leaf in self.spec.leaves():
            self._constant(leaf)

    def _constant(self, spec: Spec) -> pl.Series:
        """The value of a ``const``, one row; null for other ways."""
        if spec.const is None:
            return pl.Series([None], dtype=self.dtype)
        text = str(spec.const).lower() if isinstance(spec.const, bool) else str(spec.const)
        values = read_values(pl.Series([text]), self.dtype, How(timezone=self.timezone))
        if values.null_count():
            raise ValueError(f"map.{self.name}: const {spec.const!r} is not a {self.dtype}")
        return values

    def fill(self, view: View, *, clean: bool) -> Filled:
        """The column's values for each row of a view."""
        return self._fill(self.spec, view, clean=clean)

    def _fill(self, spec: Spec, view: View, *, clean: bool) -> Filled:
        how = How(spec.ratio, self.timezone, spec.split)
        if spec.path is not None:
            raw = blank(view.get(spec.path), self.null_tokens)
            if raw.null_count() == len(raw):
                return Filled(
                    pl.Series([None], dtype=self.dtype).new_from_index(0, len(raw)), raw, how
                )
            return Filled(read_values(raw, self.dtype, how, clean=clean), raw, how)
        if spec.first_of is not None:
            return self._first(spec.first_of, view, clean=clean)
        if spec.corrected is not None:
            return self._corrected(spec, view)
        if spec.hash_of is not None:
            parts = [as_text(blank(view.get(path), self.null_tokens)) for path in spec.hash_of]
            hashed = hash_text(parts)
            return Filled(hashed, hashed, how)
        values = self._constant(spec).new_from_index(0, view.height)
        return Filled(values, values, how)

    def _first(self, specs: tuple[Spec, ...], view: View, *, clean: bool) -> Filled:
        first, *others = (self._fill(spec, view, clean=clean) for spec in specs)
        for other in others:
            present = first.shown.is_not_null()
            if not present.all():
                first = Filled(
                    first.values.zip_with(present, other.values),
                    as_text(first.shown).zip_with(present, as_text(other.shown)),
                    other.how,
                )
        return first

    def _corrected(self, spec: Spec, view: View) -> Filled:
        """``client + received - sent``: there where all three are."""
        if spec.corrected is None:
            raise ValueError(f"map.{self.name}: not a corrected time")
        parts = [spec.corrected.client, spec.corrected.sent, spec.corrected.received]
        client, sent, received = (self._fill(part, view, clean=False) for part in parts)
        ms = [part.values.dt.epoch("ms") for part in (client, sent, received)]
        shown = [as_text(part.shown) for part in (client, sent, received)]
        texts = pl.DataFrame({"client": shown[0], "sent": shown[1], "received": shown[2]}).select(
            pl.format("{} + {} - {}", "client", "received", "sent")
        )
        return Filled(in_range(ms[0] + ms[2] - ms[1]), texts.to_series(), client.how)


def hash_text(parts: Iterable[pl.Series]) -> pl.Series:
    """The xxh3_64 of texts, in decimal; null where all parts are."""
    frame = pl.DataFrame([part.alias(str(n)) for n, part in enumerate(parts)])
    joined = pl.concat_str(pl.all().fill_null("\x00"), separator="\x1f").alias("joined")
    some = pl.any_horizontal(pl.all().is_not_null()).alias("some")
    hashed = frame.select(joined, some).with_columns(string_key("joined").cast(pl.String))
    return hashed.select(pl.when("some").then("joined")).to_series()
