"""Labels and attributions of user behaviour, written once, the same live and replayed.

What a rule author imports. Nothing here does I/O.
"""

from labeling.model.expr import anchor, column, label
from labeling.model.rule import LabelRule
from labeling.model.selector import Event
from labeling.model.vocabulary import (
    active,
    aggregate,
    count,
    count_distinct,
    dwell,
    first_value,
    happened,
    last_value,
    max_of,
    min_of,
    sum_of,
    time_to,
)
from labeling.model.window import end_of_day

__version__ = "0.1.0"
__all__ = [
    "Event",
    "LabelRule",
    "active",
    "aggregate",
    "anchor",
    "column",
    "count",
    "count_distinct",
    "dwell",
    "end_of_day",
    "first_value",
    "happened",
    "label",
    "last_value",
    "max_of",
    "min_of",
    "sum_of",
    "time_to",
]
