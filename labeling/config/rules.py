"""The operator's rules, imported from the tree that the configuration names.

Always holds: ``load_rules`` returns a tuple of values with a name, no name and version twice, and
the declared columns that each rule reads are those of ``[columns]``, type by type.

Not promised: that importing is free of effects; the tree is the operator's own Python.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from labeling.config.hints import nearest
from labeling.config.settings import Config
from labeling.errors import ConfigError, LabelingError


def load_rules(config: Config) -> tuple[Any, ...]:
    """Import ``config.rules`` ("module:NAME") with the configuration's folder on ``sys.path``.

    Returns:
        The rules in the order of the tuple.

    Raises:
        ConfigError: no such module or name, not a tuple of rules, a rule that is there twice, or
            a rule that reads a column otherwise than ``[columns]`` declares it.
        LabelingError: what the rules themselves raise when made.
    """
    module_name, _, attribute = config.rules.partition(":")
    module = _import(module_name, config)
    if not hasattr(module, attribute):
        known = [name for name in vars(module) if not name.startswith("_")]
        raise ConfigError(
            f"{config.path}: rules = {config.rules!r}: module {module_name!r} has no "
            f"{attribute!r}{nearest(attribute, known)}"
        )
    rules = getattr(module, attribute)
    if not isinstance(rules, tuple):
        raise ConfigError(
            f"{config.path}: {config.rules} is a {type(rules).__name__}; make it a tuple of rules, "
            f"such as {attribute} = (MY_RULE,)"
        )
    seen: set[tuple[str, object]] = set()
    for rule in rules:
        _check_rule(rule, config)
        key = (rule.name, rule.version)
        if key in seen:
            raise ConfigError(
                f"{config.rules}: rule {rule.name!r} version {rule.version} is there twice"
            )
        seen.add(key)
    return rules


def _check_rule(rule: object, config: Config) -> None:
    if not hasattr(rule, "name") or not hasattr(rule, "version"):
        raise ConfigError(
            f"{config.rules}: {rule!r} is not a rule; put LabelRule or AttributionRule "
            "values into the tuple"
        )
    wanted: Mapping[str, str] = getattr(rule, "columns", {})
    for name, kind in wanted.items():
        declared = config.columns.get(name)
        if declared is None:
            raise ConfigError(
                f"rule {rule.name!r} reads column {name!r}, which {config.path} does not declare; "
                f'add {name} = "{kind}" to [columns]'
            )
        if declared != kind:
            raise ConfigError(
                f"rule {rule.name!r} reads column {name!r} as {kind}, {config.path} declares it "
                f"as {declared}; make the two the same"
            )


def _import(name: str, config: Config) -> ModuleType:
    folder = str(config.folder)
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)
    _forget_others(name.partition(".")[0], config.folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except LabelingError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"{config.path}: rules = {config.rules!r}: no module {name!r} in {folder}; "
                "write the rules there or name another module"
            ) from None
        raise ConfigError(f"{config.path}: rules = {config.rules!r}: {error}") from error
    except Exception as error:
        raise ConfigError(
            f"{config.path}: rules = {config.rules!r}: importing it failed: "
            f"{type(error).__name__}: {error}"
        ) from error


def _forget_others(root: str, folder: Path) -> None:
    """Drop a module of this name that was imported for another configuration's folder."""
    module = sys.modules.get(root)
    if module is None or not ((folder / root).is_dir() or (folder / f"{root}.py").is_file()):
        return
    file = getattr(module, "__file__", None)
    if file is not None and not Path(file).resolve().is_relative_to(folder):
        for name in [n for n in sys.modules if n == root or n.startswith(f"{root}.")]:
            del sys.modules[name]
