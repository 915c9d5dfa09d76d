"""``[health]``: when an hour's labels look wrong enough to hold the trainers back.

Always holds: without ``max_shift`` nothing is ever held.

Not promised: that a shift is a fault. A holiday shifts labels too; whoever looks says so.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from labeling.config.hints import Table
from labeling.config.source import OneOrMore


class HealthConfig(Table):
    """The ``[health]`` table.

    ``max_shift``: an hour is held when the rate of a label's positives differs from that of the
    same hour a day before by more than this part of it (0.5: by half), None: never; ``min_rows``:
    hours with fewer rows, in either, are not compared; ``labels``: those that are, none named:
    every Boolean one; ``min_coverage``: not used without early points: an hour is held when less
    than this part of a label's positives was known at the first early point, None: never.
    """

    max_shift: Annotated[float | None, Field(gt=0)] = None
    min_rows: Annotated[int, Field(ge=1)] = 1_000
    labels: OneOrMore = ()
    min_coverage: Annotated[float | None, Field(gt=0, le=1)] = None
