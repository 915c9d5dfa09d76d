"""The stream (clauses 17 to 19, design section 6): outcomes, steps, commits, crashes, in dicts.

Always holds: every event of every item ends as exactly one of too late, duplicate, accepted, and
the counts add up; what a commit wrote is all that a restart knows; changes compose (law 4).

Not promised: that two ways of stepping late events give the same changes; they give the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from labeling.model.kinds import Rule
from tests.model.assign import Fact, Identity, Twins, alike, identity
from tests.model.clock import Clock, Item, Source
from tests.model.kinds import points_of, reason_of, rows_at
from tests.model.oracle import Row

Change = dict[str, Any]
KEY = ("user_id", "anchor_ts", "anchor_id")


@dataclass
class Stored:
    """A key of a rule's table (``rule.row_keys``): what was retracted keeps its last revision."""

    revision: int
    present: bool
    values: dict[str, Any] | None


Table = dict[tuple[Any, ...], Stored]


def publish(table: Table, rows: Iterable[Row], keys: Sequence[str] = KEY) -> list[Change]:
    """Compare rows with the table, in their order; a difference gets the next revision (law 4).

    Neighbours of one anchor and point are a set returned whole (clause A19): what the table has of
    the anchor and the set has not is retracted.
    """
    made: list[Change] = []
    for _, run in groupby(rows, lambda r: (r["point_ts"], *(r[k] for k in KEY))):
        whole = list(run)
        said = {tuple(r[k] for k in keys) for r in whole}
        anchor = tuple(whole[0][k] for k in KEY)
        left = [k for k, s in table.items() if k[: len(KEY)] == anchor and s.present]
        gone = {"present": False, "point_ts": whole[0]["point_ts"], "reason": whole[0]["reason"]}
        whole += [dict(zip(keys, k, strict=True)) | gone for k in left if k not in said]
        made += [c for r in whole for c in compared(table, r, keys)]
    return made


def compared(table: Table, r: Row, keys: Sequence[str]) -> list[Change]:
    """The change that a row makes, if it makes one; the table has it then."""
    key = tuple(r[k] for k in keys)
    said = {k: v for k, v in r.items() if k not in (*keys, "point_ts", "reason", "present")}
    had = table.get(key, Stored(0, present=False, values=None))
    if r["present"] == had.present and (not had.present or said == had.values):
        return []
    now = Stored(had.revision + 1, r["present"], said if r["present"] else None)
    kind = "update" if had.present and now.present else "insert" if now.present else "retract"
    table[key] = now
    named = dict(zip(keys, key, strict=True)) | {"revision": now.revision, "kind": kind}
    values = {"old": had.values, "new": now.values}
    return [named | values | {"point_ts": r["point_ts"], "reason": r["reason"]}]


def current(table: Table) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows that a reader of the table sees."""
    return {k: s.values for k, s in table.items() if s.present and s.values is not None}


@dataclass
class Out:
    """What one step did."""

    changes: dict[str, list[Change]] = field(default_factory=dict)
    accepted: list[Fact] = field(default_factory=list)
    too_late: list[Fact] = field(default_factory=list)
    duplicates: list[tuple[Fact, bool]] = field(default_factory=list)

    def counts(self) -> tuple[int, int, int]:
        """Too late, duplicate, accepted."""
        return len(self.too_late), len(self.duplicates), len(self.accepted)


@dataclass
class Archived:
    """One line of the archive: the event, how it arrived, the commit that wrote it."""

    event: Fact
    arrival: str
    commit: int


class Stream:
    """One shard: memory, and a store of which only commits survive a crash.

    Args:
        rules: of any kind.
        sources: all sources, each with its partitions.
        lateness_ms: one for all rules.
        since_ms: rule key to the first anchor time that the stream owns; all unless given.
        twins: as of ``oracle.rows``.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        sources: Sequence[Source],
        lateness_ms: int,
        since_ms: Mapping[str, int] | None = None,
        twins: Twins | None = None,
    ) -> None:
        self.rules, self.lateness_ms = tuple(rules), lateness_ms
        self.since_ms, self.twins = dict(since_ms or {}), dict(twins or {})
        # the store: written by commits alone
        self.committed = Clock(tuple(sources), self.rules)
        self.archive: list[Archived] = []
        self.tables: dict[str, Table] = {r.key: {} for r in self.rules}
        self.log: dict[str, list[Change]] = {r.key: [] for r in self.rules}
        self.counts = (0, 0, 0)
        self.commits = 0
        self.restart()

    def restart(self) -> None:
        """Memory from the archive's tail, less the too late; the marks from the last commit."""
        self.clock = self.committed.copy()
        self.seen: dict[Identity, Fact] = {}
        self.held: dict[str, list[Fact]] = {r.key: [] for r in self.rules}
        for line in self.archive:
            if line.arrival != "too_late":
                self._remember(line.event)
        self._forget(self.clock)

    def step(self, items: Sequence[Item]) -> Out:
        """Take items, publish, commit."""
        before, out, lines = self.clock.copy(), Out(), []
        for item in items:
            for e, arrival in self.clock.judge(item, self.lateness_ms):
                if arrival == "too_late":
                    out.too_late.append(e)
                elif identity(e) in self.seen:
                    out.duplicates.append((e, e != self.seen[identity(e)]))
                    continue
                else:
                    out.accepted.append(e)
                    self._remember(e)
                lines.append(Archived(e, arrival, self.commits + 1))
        for rule in self.rules:
            f0, f1 = before.of_rule[rule.key], self.clock.of_rule[rule.key]
            rows = self._rows(rule, out.accepted, f0, f1)
            made = publish(self.tables[rule.key], rows, rule.row_keys)
            out.changes[rule.key] = made
            self.log[rule.key] += made
        self._forget(before)
        self.archive += lines
        self.committed, self.commits = self.clock.copy(), self.commits + 1
        self.counts = tuple(map(sum, zip(self.counts, out.counts(), strict=True)))  # type: ignore[assignment]  # three again
        return out

    def _remember(self, e: Fact) -> None:
        self.seen[identity(e)] = e
        for rule in self.rules:
            if e["event_type"] in rule.event_types:
                self.held[rule.key].append(e)

    def _forget(self, before: Clock) -> None:
        """Drop what can matter no more, by the ``F`` before the step."""
        lowest = min(before.of_source.values()) - self.lateness_ms
        self.seen = {k: e for k, e in self.seen.items() if e["event_ts"] >= lowest}
        for rule in self.rules:
            oldest = before.of_rule[rule.key] - self.lateness_ms - rule.reach_ms
            self.held[rule.key] = [e for e in self.held[rule.key] if e["event_ts"] >= oldest]

    def _rows(self, rule: Rule, accepted: list[Fact], f0: int, f1: int) -> list[Row]:
        """Clauses 18 and A19: the rows to publish, in the order (point, anchor time, id)."""
        held = self.held[rule.key]
        late = [e for e in accepted if e["event_ts"] < f0 and e["event_type"] in rule.event_types]
        asked = []
        for a, points in points_of(rule, held, self.twins):
            if a["event_ts"] < self.since_ms.get(rule.key, a["event_ts"]):
                continue
            passed = [p for p in points if f0 <= p < f1]
            below = [p for p in points if p < f0]
            asked += [(a, p, reason_of(rule, a, p)) for p in passed]
            if not passed and below and any(reaches(rule, e, a) for e in late):
                asked.append((a, max(below), "late"))
        return said(rule, held, asked, self.twins)


def said(
    rule: Rule, events: list[Fact], asked: Iterable[tuple[Fact, int, str]], twins: Twins
) -> list[Row]:
    """All rows of anchors at points, with the reason, those of one anchor and point together."""
    in_order = sorted(asked, key=lambda q: (q[1], q[0]["event_ts"], q[0]["event_id"]))
    return [
        row | {"reason": reason}
        for a, p, reason in in_order
        for row in rows_at(rule, events, a, p, twins)
    ]


def reaches(rule: Rule, e: Fact, a: Fact) -> bool:
    """Clauses 19 and A20: whether an event can matter to an anchor's rows; to its own it does."""
    if identity(e) == identity(a):
        return True
    earliest, latest = e["event_ts"] - rule.looks_ahead_ms, e["event_ts"] + rule.looks_back_ms
    return alike(e, a, rule.group) and bool(earliest <= a["event_ts"] <= latest)


def replay(
    rule: Rule,
    archive: Sequence[Archived],
    hours: tuple[int, int],
    table: Table,
    *,
    with_too_late: bool,
    twins: Twins | None = None,
) -> list[Change]:
    """Publish the anchors of ``[hours[0], hours[1])`` from the archive into a table.

    Into an empty range every point is published, in order; else the last rows, whose differences
    are the changes, and keys that the archive no longer has are retracted.
    """
    facts: dict[Identity, Fact] = {}
    for line in archive:
        if with_too_late or line.arrival != "too_late":
            facts.setdefault(identity(line.event), line.event)
    events = list(facts.values())
    empty = not any(s.present and hours[0] <= key[1] < hours[1] for key, s in table.items())
    asked = [
        (a, p, "replay")
        for a, points in points_of(rule, events, twins or {})
        if hours[0] <= a["event_ts"] < hours[1]
        for p in (points if empty else points[-1:])
    ]
    rows = said(rule, events, asked, twins or {})
    found = {identity(a) for a, _, _ in asked}
    for key, s in sorted(table.items()):
        if s.present and hours[0] <= key[1] < hours[1] and key[: len(KEY)] not in found:
            gone = {"point_ts": None, "reason": "replay", "present": False}
            rows.append(dict(zip(rule.row_keys, key, strict=True)) | gone)
    return publish(table, rows, rule.row_keys)
