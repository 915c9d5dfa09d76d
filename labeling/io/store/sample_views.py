"""Samples in the formats that trainers want, as SQL: what was known of a label, and when.

Always holds: a view is a function of the current rows and of what was published of them before.
The value of a column after a delay is the ``old`` of the row's first change at a later point that
touches it, else the current one: what was published at that point, late corrections of it included.
Of the label it is what the label rule said, of everything else what the sample said. See
docs/sample-formats.md, clauses F1 to F12.

Not promised: values from before a label's changes were dropped by retention (the current ones stand
in); nor those of a sample that was retracted and came back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from labeling.io.store.finality import passed, rows_noted
from labeling.model.table import ROW_KEY, SampleOf

#: Columns of a sample that its points may change, beside the label.
_MOVING: Final = ("revision", "kept", "weight")
#: What the other columns of a sample say of its features, at all points alike.
_FOUND: Final = ("status", "served_ts", "features_key")
_KEY: Final = ", ".join(f'r."{c}"' for c in ROW_KEY)
_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


def delay_text(delay_ms: int | None) -> str:
    """A delay as the name of a column has it; None is the end of a calendar window.

    >>> delay_text(5_400_000)
    '1h30m'
    """
    if delay_ms is None:
        return "end"
    text, left = "", delay_ms
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0ms"


def sample_note(sample: SampleOf | None) -> dict[str, Any]:
    """What ``rules`` says of a table of samples."""
    if sample is None:
        return dict.fromkeys(("sample_of", "sample_label", "sample_delays", "sample_carried"))
    return {
        "sample_of": sample.rule,
        "sample_label": sample.label,
        "sample_delays": list(sample.delays),
        "sample_carried": list(sample.carried),
    }


def sample_noted(noted: Mapping[str, Any]) -> SampleOf | None:
    """The same read back from a row of ``rules``."""
    if noted["sample_of"] is None:
        return None
    return SampleOf(
        noted["sample_of"],
        noted["sample_label"],
        tuple(noted["sample_delays"]),
        tuple(noted["sample_carried"]),
    )


@dataclass(frozen=True, slots=True)
class Samples:
    """One version of a sample rule as its table has it.

    ``columns`` are the table's; ``shown`` gives a column of row ``r`` in the units of views.
    """

    rule: str
    version: int
    columns: tuple[str, ...]
    shown: Callable[[str], str]
    sample: SampleOf
    window_ms: int | None

    @property
    def points(self) -> tuple[int | None, ...]:
        """The delays of all points, ascending; None: the last one of a calendar window."""
        return (*(d for d in self.sample.delays if d != self.window_ms), self.window_ms)

    @property
    def label(self) -> str:
        """The label now."""
        return f'r."{self.sample.label}"'

    def label_at(self, place: int) -> str:
        """The label at a point."""
        return f"coalesce(l.label_{place}, {self.label})"

    def at(self, column: str, place: int) -> str:
        """``kept``, ``weight`` or ``revision`` at a point, in the units of views."""
        now = self._now(column)
        if column == "revision":
            return f"coalesce(s.revision_{place} - 1, {now})"
        unit = "1e6" if column == "weight" else "1e9"
        return f"coalesce(s.{column}_{place} / {unit}, {now})"

    def _now(self, column: str) -> str:
        return self.shown(column).removesuffix(f' AS "{column}"')

    def passed(self, delay_ms: int | None) -> str:
        """That a point of row ``r`` has passed: of a row that is there an early first one has."""
        first, *later = self.points
        return "TRUE" if later and delay_ms == first else passed(delay_ms)

    def rows(self, where: str) -> str:
        """Rows ``r`` with what ``passed`` asks, and what changed in them, ``l`` and ``s``."""
        labels, _, version = self.sample.rule.partition("@")
        return (
            f"{rows_noted(self.rule, self.version)} "
            f"LEFT JOIN ({self._changes(labels, int(version), where, self._labels())}) l "
            f"USING ({', '.join(ROW_KEY)}) "
            f"LEFT JOIN ({self._changes(self.rule, self.version, where, self._moved())}) s "
            f"USING ({', '.join(ROW_KEY)}) WHERE {where}"
        )

    def at_points(self, where: str) -> str:
        """A SELECT of rows with what they were at each point, in columns that begin with @."""
        # Of a sample that is positive now, and was when it was first published, but not at its
        # first point, the negative was left out then.
        first = f"coalesce(s.first_label, {self.label})"
        there = f"NOT {self.label} OR NOT {first} OR {self.label_at(0)}"
        told = [
            *(f'{self.at(c, i)} AS "@{c}_{i}"' for c in _MOVING for i in range(len(self.points))),
            *(f'{self.label_at(i)} AS "@label_{i}"' for i in range(len(self.points))),
            f'{self.label} AS "@label"',
            f'{self._now("kept")} AS "@kept"',
            f'{there} AS "@there"',
            f'{self.passed(self.points[-1])} AS "@over"',
        ]
        constant = (*self.sample.carried, *_FOUND)
        columns = ", ".join((_KEY, *(self.shown(c) for c in constant), *told))
        return f"SELECT {columns} {self.rows(where)}"

    def _changes(self, rule: str, version: int, where: str, sums: str) -> str:
        return (
            f"SELECT {_KEY}, {sums} FROM label_changes r "
            f"WHERE r.rule = '{rule}' AND r.version = {version} AND {where} GROUP BY ALL"
        )

    def _labels(self) -> str:
        return ", ".join(
            f"{self._first_later(self.sample.label, 'BOOLEAN', delay)} AS label_{place}"
            for place, delay in enumerate(self.points)
        )

    def _moved(self) -> str:
        old = f"CAST(json_extract(r.old, '$.\"{self.sample.label}\"') AS BOOLEAN)"
        sums = [f"arg_min({old}, r.revision) AS first_label"]
        for place, delay in enumerate(self.points):
            sums.append(f"min(r.revision) FILTER ({_later(delay)}) AS revision_{place}")
            sums += [
                f"{self._first_later(column, 'BIGINT', delay)} AS {column}_{place}"
                for column in _MOVING[1:]
            ]
        return ", ".join(sums)

    @staticmethod
    def _first_later(column: str, kind: str, delay: int | None) -> str:
        """The ``old`` of the first change after a point that touches a column, else null."""
        # arg_min leaves out what has no such key in its text: that is null.
        old = f"CAST(json_extract(r.old, '$.\"{column}\"') AS {kind})"
        return f"arg_min({old}, r.revision) FILTER ({_later(delay)})"


def _later(delay: int | None) -> str:
    """That a change ``r`` is of a later point than that of a delay."""
    if delay is None:
        return "FALSE"
    return f"epoch_ms(r.point_ts) > epoch_ms(r.anchor_ts) + {delay}"


def _wait(of: Samples, where: str) -> str:
    """F4: rows that are final."""
    last = of.points[-1]
    columns = ", ".join(of.shown(c) for c in _row_columns(of))
    return (
        f"SELECT {columns}, {_number(last)} AS matured_ms, TRUE AS final "
        f"{rows_noted(of.rule, of.version)} WHERE {where} AND {of.passed(last)}"
    )


def _delay_buckets(of: Samples, where: str) -> str:
    """F6: the label at each point."""
    columns = ", ".join(of.shown(c) for c in _row_columns(of))
    buckets = ", ".join(
        f"CASE WHEN {of.passed(d)} THEN {of.label_at(i)} END "
        f'AS "{of.sample.label}_at_{delay_text(d)}"'
        for i, d in enumerate(of.points)
    )
    matured = " ".join(f"WHEN {of.passed(d)} THEN {_number(d)}" for d in reversed(of.points))
    return (
        f"SELECT {columns}, {buckets}, CASE {matured} END AS matured_ms, "
        f"{of.passed(of.points[-1])} AS final {of.rows(where)}"
    )


def _fnw(of: Samples, where: str) -> str:
    """F5: every sample as a negative, and the positives again."""
    # Of a negative that was positive before, what is kept is what is kept of negatives.
    kept = 'CASE WHEN "@label" THEN "@kept_0" ELSE "@kept" END'
    negative = f'SELECT {_told(of, "fake_negative", "FALSE", 0, kept)} WHERE "@there"'
    positive = f'SELECT {_told_when_known(of)} WHERE "@label"'
    return _both(of, where, negative, positive)


def _es_dfm(of: Samples, where: str) -> str:
    """F7: what was observed at the first point, and positives again that came later."""
    positive = f'SELECT {_told_when_known(of)} WHERE "@label" AND NOT "@label_0"'
    return _both(of, where, _observed(of), positive)


def _defer(of: Samples, where: str) -> str:
    """F8: what was observed at the first point, and every sample again with its true label."""
    told = _told(of, "duplicate", '"@label"', len(of.points) - 1, '"@kept"')
    return _both(of, where, _observed(of), f'SELECT {told} WHERE "@over"')


def _both(of: Samples, where: str, first: str, again: str) -> str:
    """Rows of samples when they were first told of, and when they are told of again."""
    return f"(WITH t AS ({of.at_points(where)}) {first} UNION ALL BY NAME {again})"


def _observed(of: Samples) -> str:
    told = _told(of, "observed", '"@label_0"', 0, '"@kept_0"')
    return f'SELECT {told} WHERE "@there"'


def _told(of: Samples, kind: str, label: str, place: int, kept: str) -> str:
    """The columns of a row that says what was known at a point."""
    return (
        f"{_constant(of)}, \"@revision_{place}\" AS revision, '{kind}' AS kind, "
        f'{label} AS "{of.sample.label}", {kept} AS kept, "@weight_{place}" AS weight, '
        f"{_number(of.points[place])} AS matured_ms, "
        f"{_truth(place == len(of.points) - 1)} AS final FROM t"
    )


def _told_when_known(of: Samples) -> str:
    """The columns of a positive as of the first point at which it was one."""
    *early, last = range(len(of.points))

    def then(value: Callable[[int], str]) -> str:
        cases = " ".join(f'WHEN "@label_{i}" THEN {value(i)}' for i in early)
        return f"CASE {cases} ELSE {value(last)} END" if early else value(last)

    def moved(column: str) -> str:
        return f"{then(lambda i: f'{chr(34)}@{column}_{i}{chr(34)}')} AS {column}"

    moving = ", ".join(moved(c) for c in _MOVING)
    return (
        f"{_constant(of)}, 'duplicate' AS kind, TRUE AS \"{of.sample.label}\", {moving}, "
        f"{then(lambda i: _number(of.points[i]))} AS matured_ms, "
        f"{then(lambda i: _truth(i == last))} AS final FROM t"
    )


def _constant(of: Samples) -> str:
    """Key, carried columns and what was found of features."""
    return ", ".join(f'"{c}"' for c in (*ROW_KEY, *of.sample.carried, *_FOUND))


def _row_columns(of: Samples) -> list[str]:
    """The columns of a row but the book's."""
    book = {"rule_version", "rule_digest", "first_commit", "commit"}
    return [c for c in of.columns if c not in book]


def _number(delay_ms: int | None) -> str:
    return f"CAST({'NULL' if delay_ms is None else delay_ms} AS BIGINT)"


def _truth(holds: bool) -> str:  # noqa: FBT001 - the value itself
    return "TRUE" if holds else "FALSE"


#: Name of a format, which ends that of its view, to its SELECT of the rows that a condition on
#: ``r.anchor_ts`` holds for; the condition is asked of changes, under the same alias, too.
FORMATS: Final[Mapping[str, Callable[[Samples, str], str]]] = {
    "wait": _wait,
    "fnw": _fnw,
    "delay_buckets": _delay_buckets,
    "es_dfm": _es_dfm,
    "defer": _defer,
}
