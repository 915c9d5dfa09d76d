"""What ``from labeling import ...`` offers: the whole surface for authors of rules.

Always holds: a name comes or goes only together with this list, hence with a line in the
changelog; importing it opens no file and no socket.

Not promised: that modules below keep their names.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import labeling

EXPORTED = [
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


def test_the_surface_is_what_it_was() -> None:
    """``labeling.__all__`` is this list, each name is there, and each says what it is."""
    assert sorted(labeling.__all__) == EXPORTED
    assert not [name for name in EXPORTED if not getattr(labeling, name).__doc__]


def test_nothing_public_is_left_out() -> None:
    """A public name of the package that is not a module is in ``__all__``."""
    modules = {name for name in vars(labeling) if type(vars(labeling)[name]) is type(sys)}
    public = {name for name in vars(labeling) if not name.startswith("_")} - modules
    assert public <= set(labeling.__all__)


def test_there_is_no_input_or_output_behind_it() -> None:
    """Importing ``labeling`` loads neither the store, the configuration nor the command line."""
    code = (
        "import labeling, sys; print(*sorted(n for n in sys.modules if '.' in n or n == 'duckdb'))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parent.parent, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    ours = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("labeling.")}
    assert ours <= {"labeling.errors", "labeling.model"}
    assert "duckdb" not in loaded
