"""Labels and attributions of user behaviour, written once, the same live and replayed.

What a rule author imports. Nothing here does I/O.
"""

from labeling.model.attribution import AttributionRule
from labeling.model.credit import (
    first_touch,
    last_touch,
    linear,
    position_based,
    time_decay,
    weighted,
)
from labeling.model.expr import anchor, column, label
from labeling.model.rollup import Rollup, rows, total
from labeling.model.rows_of import rows_of
from labeling.model.rule import LabelRule
from labeling.model.sample import Features, SampleRule
from labeling.model.selector import Event
from labeling.model.session import session
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
    "AttributionRule",
    "Event",
    "Features",
    "LabelRule",
    "Rollup",
    "SampleRule",
    "active",
    "aggregate",
    "anchor",
    "column",
    "count",
    "count_distinct",
    "dwell",
    "end_of_day",
    "first_touch",
    "first_value",
    "happened",
    "label",
    "last_touch",
    "last_value",
    "linear",
    "max_of",
    "min_of",
    "position_based",
    "rows",
    "rows_of",
    "session",
    "sum_of",
    "time_decay",
    "time_to",
    "total",
    "weighted",
]
