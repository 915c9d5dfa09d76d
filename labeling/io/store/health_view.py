"""The view ``health``: of each hour and label, how much was known when, and how that compares.

Always holds: it is a function of ``health_counts`` alone; a rate without a denominator is null.

Not promised: a shift for the first day. There is no day before it.
"""

from __future__ import annotations

from typing import Final

HEALTH: Final = """CREATE VIEW IF NOT EXISTS health AS
SELECT d.rule, d.version, d.hour, d.label, d.delay_ms, d.rows, d.positives,
  d.positives / nullif(a.positives, 0) AS coverage,
  (a.positives - d.positives) / nullif(d.rows - d.positives, 0) AS fake_negative_rate,
  d.positives / nullif(d.rows, 0) AS rate,
  b.positives / nullif(b.rows, 0) AS rate_day_before,
  d.positives / nullif(d.rows, 0) / nullif(b.positives / nullif(b.rows, 0), 0) - 1 AS shift
FROM health_counts d
LEFT JOIN health_counts a ON a.rule = d.rule AND a.version = d.version AND a.hour = d.hour
  AND a.label = d.label AND a.delay_ms IS NULL
LEFT JOIN health_counts b ON b.rule = d.rule AND b.version = d.version AND b.label = d.label
  AND b.delay_ms IS NOT DISTINCT FROM d.delay_ms
  AND epoch_ms(b.hour) = epoch_ms(d.hour) - 86400000"""
