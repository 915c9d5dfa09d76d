"""When a point of a row has passed, as SQL: what ``<rule>_final`` and the views of samples ask.

Always holds: a point at ``anchor_ts + delay`` has passed in a complete hour, before
``hours.through_ts``, before the watermark of the stream that owns the row, and before that of
repairs. What has passed stays so.

Not promised: an answer for the last point of a calendar window before its hour is complete.
"""

from __future__ import annotations

#: Joins ``hours h`` to rows ``r``. Views work on whole milliseconds: arithmetic on TIMESTAMPTZ
#: itself needs the ICU extension.
_HOUR = "epoch_ms(r.anchor_ts) // 3600000 = epoch_ms(h.hour) // 3600000"


def rows_noted(rule: str, version: int) -> str:
    """The rows ``r`` of a version with what ``passed`` asks: their hour ``h``, watermarks ``f``."""
    key = f"rule = '{rule}' AND version = {version}"
    return (
        f'FROM "{rule}_v{version}" r '
        f"LEFT JOIN hours h ON h.rule = '{rule}' AND h.version = {version} AND {_HOUR} "
        "CROSS JOIN (SELECT (SELECT min(f_ms) FROM watermarks"
        f" WHERE kind = 'rule' AND name = '{rule}@{version}') AS stream_ms, "
        f"(SELECT coalesce(epoch_ms(since_ts), 0) FROM streams WHERE {key}) AS since_ms, "
        f"(SELECT f_ms FROM repairs WHERE {key}) AS repair_ms) f"
    )


def passed(delay_ms: int | None) -> str:
    """That the point so long after the anchor of ``r`` has passed; never null.

    Args:
        delay_ms: None: the last point of a calendar window.
    """
    if delay_ms is None:
        return "coalesce(h.complete, FALSE)"
    at = f"epoch_ms(r.anchor_ts) + {delay_ms}"
    return (
        f"coalesce(h.complete OR {at} < epoch_ms(h.through_ts) OR ({at} < f.stream_ms"
        f" AND epoch_ms(r.anchor_ts) >= f.since_ms) OR {at} < f.repair_ms, FALSE)"
    )
