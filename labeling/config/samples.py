"""``[[samples]]``: which samples go to which topic, in which format.

Always holds: nothing here changes what a sample is, only where and how it is told.

Not promised: that the topic or the sample rule exists; ``labeling run`` says so at its start.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from labeling.config.hints import Table


class SampleTopic(Table):
    """One topic of samples, on the cluster of ``[live]``.

    ``rule`` is a sample rule's name, or ``name@version``; ``format`` one of docs/samples.md;
    ``encoding`` is of the records' values.
    """

    rule: Annotated[str, Field(min_length=1)]
    topic: Annotated[str, Field(min_length=1)]
    format: Literal["changes", "wait", "fnw", "delay_buckets"] = "changes"
    encoding: Literal["json", "arrow"] = "json"
