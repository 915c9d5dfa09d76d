"""Health as Prometheus sees it: of each rule's latest complete hour.

Always holds: the figures are those of the view ``health``, asked of the store each time; what has
no value there is not told.

Not promised: every hour. Hours that become complete between two scrapes are in the view alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from labeling.io.store import Store

_LATEST: Final = (
    "SELECT f.* FROM health f SEMI JOIN ("
    "SELECT h.rule, h.version, max(h.hour) AS hour FROM hours h SEMI JOIN health_counts c "
    "ON c.rule = h.rule AND c.version = h.version AND c.hour = h.hour "
    "WHERE h.complete GROUP BY ALL) l "
    "ON l.rule = f.rule AND l.version = f.version AND l.hour = f.hour "
    "ORDER BY rule, version, label, delay_ms NULLS LAST"
)
#: Figures of a delay, by the view's column.
_BY_DELAY: Final = {
    "coverage": "Part of the positives known today that was known after so long.",
    "fake_negative_rate": "Part of the rows negative after so long that are positive today.",
}
#: Figures of all that is known.
_OF_ALL: Final = {
    "rate": "Part of the rows that is positive.",
    "shift": "By which part the rate differs from that of the same hour a day before.",
}


@dataclass(eq=False)
class HealthMetrics(Collector):
    """What is known of labels, for Prometheus.

    Args:
        store: of the flow; a session beside it answers.
    """

    store: Store

    def collect(self) -> Iterable[Metric]:
        """Coverage and false negatives by rule, label and delay; rate and shift by rule, label."""
        with self.store.beside() as mine:
            known = list(mine.query(_LATEST).iter_rows(named=True))
        for name, text in _BY_DELAY.items():
            family = _family(name, text, "rule", "label", "delay_s")
            for row in known:
                if row["delay_ms"] is not None and row[name] is not None:
                    family.add_metric((*_of(row), f"{row['delay_ms'] / 1000:g}"), row[name])
            yield family
        for name, text in _OF_ALL.items():
            family = _family(name, text, "rule", "label")
            for row in known:
                if row["delay_ms"] is None and row[name] is not None:
                    family.add_metric(_of(row), row[name])
            yield family


def _family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"labeling_label_{name}", text, labels=labels)


def _of(row: dict[str, Any]) -> tuple[str, str]:
    return f"{row['rule']}@{row['version']}", row["label"]
