"""The operator's rules, imported from the tree that the configuration names.

Always holds: what a tree has is of known kinds, no name and version twice; the declared columns
that each rule reads are those of ``[columns]``, type by type; what samples and rollups are made of
is in the tree too, with the same definition.

Not promised: that importing is free of effects; the tree is the operator's own Python.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from labeling.config.features import FEATURES
from labeling.config.hints import nearest
from labeling.config.settings import Config
from labeling.errors import ConfigError, LabelingError
from labeling.model.kinds import Rule
from labeling.model.rollup import Rollup
from labeling.model.sample import SampleRule


@dataclass(frozen=True)
class Tree:
    """What the operator's tuple holds, each kind in its order."""

    rules: tuple[Rule, ...] = ()
    samples: tuple[SampleRule, ...] = ()
    rollups: tuple[Rollup, ...] = ()


def load_rules(config: Config) -> tuple[Rule, ...]:
    """The rules of ``load_tree``: labels and attributions.

    Raises:
        LabelingError: as there.
    """
    return load_tree(config).rules


def load_tree(config: Config) -> Tree:
    """Import ``config.rules`` ("module:NAME") with the configuration's folder on ``sys.path``.

    Raises:
        ConfigError: no such module or name, not a tuple of rules, a rule that is there twice,
            a rule that reads a column otherwise than ``[columns]`` declares it, or a sample rule
            or rollup of something that is not in the tuple.
        LabelingError: what the rules themselves raise when made.
    """
    found = _named(config)
    _refuse_twice(found, config)
    tree = Tree(
        tuple(r for r in found if isinstance(r, Rule)),
        tuple(r for r in found if isinstance(r, SampleRule)),
        tuple(r for r in found if isinstance(r, Rollup)),
    )
    for rule in tree.rules:
        _check_columns(rule, config)
    _check_products(tree, config)
    return tree


def _named(config: Config) -> tuple[Rule | SampleRule | Rollup, ...]:
    """The tuple that the configuration names."""
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
    for rule in rules:
        if not isinstance(rule, Rule | SampleRule | Rollup):
            raise ConfigError(
                f"{config.rules}: {rule!r} is not a rule; put LabelRule, AttributionRule, "
                "SampleRule or Rollup values into the tuple"
            )
    return rules


def _refuse_twice(rules: Sequence[Rule | SampleRule | Rollup], config: Config) -> None:
    """Names are those of tables and views: of one thing each, whatever its kind."""
    kinds: dict[str, type] = {}
    seen: set[str] = set()
    for rule in rules:
        kind = kinds.setdefault(rule.name, type(rule))
        if kind is not type(rule):
            raise ConfigError(
                f"{config.rules}: {rule.name!r} is a {kind.__name__} and a "
                f"{type(rule).__name__}; give one of them another name"
            )
        if rule.key in seen:
            raise ConfigError(
                f"{config.rules}: rule {rule.name!r} version {rule.version} is there twice"
            )
        seen.add(rule.key)


def _check_products(tree: Tree, config: Config) -> None:
    """Hold samples and rollups to what they are made of, and to the sources there are."""
    known = {r.key: r.digest for r in (*tree.rules, *tree.samples)}
    made = [(s, s.labels) for s in tree.samples] + [(r, r.of) for r in tree.rollups]
    for product, behind in made:
        if known.get(behind.key) != behind.digest:
            raise ConfigError(
                f"{config.rules}: {product.name!r} is made of {behind.key}, which is not in the "
                f"tuple{' with this definition' if behind.key in known else ''}; add it"
            )
    there = [s.name for s in config.sources if s.kind == FEATURES]
    for sample in tree.samples:
        source = sample.features.source
        if source not in there:
            hint = nearest(source, there) if there else "; the file has none"
            raise ConfigError(
                f"sample rule {sample.name!r} takes features of {source!r}, which is no [[source]] "
                f"of kind = 'features' in {config.path}{hint}"
            )
    for rule in tree.rules:
        if FEATURES in rule.event_types:
            raise ConfigError(
                f"rule {rule.name!r} reads event type {FEATURES!r}, which is that of features: no "
                "rule reads those; a SampleRule joins them"
            )


def _check_columns(rule: Rule, config: Config) -> None:
    for name, kind in rule.columns.items():
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
