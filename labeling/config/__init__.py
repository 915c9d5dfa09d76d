"""The configuration: ``labeling.toml`` as frozen values.

Always holds: whoever has a ``Config`` has a checked one; see the modules for their own laws.

Not promised: that anything it names exists.
"""

from labeling.config.rules import load_rules
from labeling.config.settings import (
    FILE_NAME,
    Config,
    find_config,
    load_config,
    parse_config,
)
from labeling.config.sizes import size_bytes
from labeling.config.source import Emit, SourceConfig, Spec, When

__all__ = [
    "FILE_NAME",
    "Config",
    "Emit",
    "SourceConfig",
    "Spec",
    "When",
    "find_config",
    "load_config",
    "load_rules",
    "parse_config",
    "size_bytes",
]
