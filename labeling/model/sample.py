"""A sample rule: the rows of a label rule, joined with what the ranker knew when it ranked.

Always holds: a sample is a function of its label row and of the features that were served for the
same ``request_id`` and ``item_id``; clauses S1 to S12 of docs/samples.md are its meaning. A sample
has the key of its label row, and revisions of its own.

Not promised: that features were logged. A sample without them says ``no_features``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b
from typing import Final

import polars as pl

from labeling.errors import RuleError
from labeling.model.credit import WHOLE
from labeling.model.event import TS
from labeling.model.expr import canonical
from labeling.model.rule import LabelRule
from labeling.model.table import RuleTable, SampleOf, table_of
from labeling.model.window import Duration, duration_ms

#: What a sample says beside its label row: clauses S3 to S8.
SAMPLE_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "status": pl.String(),
    "served_ts": TS,
    "features_key": pl.Int64(),
    "kept": pl.Int64(),
    "weight": pl.Int64(),
}
JOINED: Final = "joined"
NO_FEATURES: Final = "no_features"
#: A weight of one, in micro-units.
_ONE: Final = 1_000_000


@dataclass(frozen=True)
class Features:
    """Where a sample's features come from.

    Args:
        source: name of the ``[[source]]`` of kind ``features``.
        within: how long before the impression they may have been served, inclusive.
    """

    source: str
    within: str = "1h"

    @property
    def within_ms(self) -> int:
        """The same in milliseconds."""
        return duration_ms(self.within)


@dataclass(frozen=True, eq=False, kw_only=True)
class SampleRule:
    """Training samples of a label rule.

    Args:
        name: lower-case identifier, of no other rule.
        version: from 1; another definition, or one of the label rule, needs another version.
        labels: the label rule; it carries ``request_id`` and ``item_id``.
        label: the Boolean label that tells a positive from a negative.
        features: where they come from.
        negatives: the part of the negatives that is kept, above 0 and up to 1, in steps of 10^-9.
        weight: an expression over the label row's columns; null or None: 1. Kept in millionths.

    Raises:
        RuleError: the definition cannot mean anything; the message names the rule and the fix.

    Example:
        ``SampleRule(name="note_samples", labels=NOTE_LABELS, label="clicked",
        features=Features("ranker"), negatives=0.1)``
    """

    name: str
    version: int = 1
    labels: LabelRule
    label: str
    features: Features
    negatives: float = 1.0
    weight: pl.Expr | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot mean anything."""
        schema = self.labels.value_schema
        if schema.get(self.label) != pl.Boolean():
            raise self._wrong(
                f"label {self.label!r} is no Boolean label of {self.labels.name}; name one of "
                + ", ".join(c for c, kind in schema.items() if kind == pl.Boolean())
            )
        for column in ("request_id", "item_id"):
            if column not in self.labels.carry:
                raise self._wrong(
                    f"features are found by {column!r}, which {self.labels.name} does not carry; "
                    f"add it to carry="
                )
        if not 0 < self.kept_parts <= WHOLE or self.negatives > 1:
            raise self._wrong(f"negatives = {self.negatives}: write a part above 0 and up to 1")
        taken = sorted({*SAMPLE_SCHEMA} & {*schema})
        if taken:
            raise self._wrong(f"{', '.join(taken)} is a column of every sample; rename the label")
        if self.weight is not None:
            unknown = sorted({*self.weight.meta.root_names()} - {*schema})
            if unknown:
                raise self._wrong(f"weight reads {', '.join(unknown)}, which no row has")

    def _wrong(self, what: str) -> RuleError:
        return RuleError(f"sample rule {self.name!r}: {what}")

    @property
    def key(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @property
    def kept_parts(self) -> int:
        """The kept part of the negatives, in parts per 10^9."""
        return round(self.negatives * WHOLE)

    @property
    def served_after_ms(self) -> int:
        """How long after the impression features may be served: the delay of its first point."""
        bound = self.labels.bound
        if self.labels.early_ms:
            return self.labels.early_ms[0]
        # A calendar window may end at the impression itself.
        return bound.ms if isinstance(bound, Duration) else 0

    @cached_property
    def value_schema(self) -> Mapping[str, pl.DataType]:
        """The label row's values, then ``SAMPLE_SCHEMA``."""
        return {**self.labels.value_schema, **SAMPLE_SCHEMA}

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the definition and of the label rule's."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        parts |= {"labels": f"{self.labels.key} {self.labels.digest}", "negatives": self.kept_parts}
        text = canonical({k: v for k, v in parts.items() if k not in ("name", "version")})
        return blake2b(text.encode(), digest_size=8).hexdigest()

    @cached_property
    def table(self) -> RuleTable:
        """The table that its rows go to."""
        labels = table_of(self.labels)
        return RuleTable(
            name=self.name,
            version=self.version,
            digest=self.digest,
            values=self.value_schema,
            money=labels.money | {"weight"},
            window_ms=labels.window_ms,
            parts=frozenset({"kept"}),
            sample=SampleOf(
                self.labels.key, self.label, self.labels.early_ms, tuple(self.labels.carry)
            ),
        )

    def weights(self) -> pl.Expr:
        """The weight in millionths, Int64, over a label row's columns."""
        if self.weight is None:
            return pl.lit(_ONE, pl.Int64)
        whole = (self.weight.cast(pl.Float64) * _ONE).round().cast(pl.Int64)
        return whole.fill_null(_ONE)

    def __repr__(self) -> str:
        """Name, version and digest."""
        return f"SampleRule({self.key} {self.digest})"
