"""The configuration: ``labeling.toml`` as frozen values.

Always holds: whoever has a ``Config`` has a checked one; see the modules for their own laws.

Not promised: that anything it names exists.
"""

from labeling.config.rules import Tree, load_rules, load_tree
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
    "Tree",
    "When",
    "find_config",
    "load_config",
    "load_rules",
    "load_tree",
    "parse_config",
    "size_bytes",
]
