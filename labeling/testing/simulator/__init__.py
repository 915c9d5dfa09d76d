"""The simulator: logs of a known world, for tests, demos and benchmarks.

Always holds: what is exported here is what others use; each part states its own law.

Not promised: that the modules behind keep their names.
"""

from labeling.testing.simulator.chunks import Chunk, simulate, traffic
from labeling.testing.simulator.columns import FEATURE_SCHEMA
from labeling.testing.simulator.disturb import disturb
from labeling.testing.simulator.features import FeatureLog, click_log_odds
from labeling.testing.simulator.files import Disturbance, Written, features_path, write_log
from labeling.testing.simulator.jsonl import BAD_LINES, to_jsonl
from labeling.testing.simulator.world import EXTRA_COLUMNS, World

__all__ = [
    "BAD_LINES",
    "EXTRA_COLUMNS",
    "FEATURE_SCHEMA",
    "Chunk",
    "Disturbance",
    "FeatureLog",
    "World",
    "Written",
    "click_log_odds",
    "disturb",
    "features_path",
    "simulate",
    "to_jsonl",
    "traffic",
    "write_log",
]
