"""The shape of the source tree: who imports whom, how long a file is, which exemptions it takes.

Always holds: what design section 7 says about folders is true of every file.

Not promised: that a file of the right size in the right folder is any good.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDERS: Final = ("labeling", "backfill", "rules", "tests", "benchmarks")
MAX_LINES: Final = 350

#: Layer to the layers that it may import, besides itself. A module belongs to the longest
#: prefix of its name that is a key. ``labeling.__init__`` is what rule authors import.
MODEL: Final = {"labeling.errors", "labeling.model"}
ENGINE: Final = MODEL | {"labeling.engine"}
IO: Final = ENGINE | {"labeling.config", "labeling.io"}
PRODUCTS: Final = IO | {"labeling.products"}
LIVE: Final = PRODUCTS | {"labeling.live"}
SHIPPED: Final = {"labeling.samples", "labeling.testing", "labeling"}
EDGES: Final = LIVE | SHIPPED | {"labeling.flow", "backfill"}
LAYERS: Final = {
    "labeling": MODEL,
    "labeling.errors": set[str](),
    "labeling.model": MODEL,
    "labeling.engine": ENGINE,
    "labeling.config": MODEL,
    "labeling.io": IO,
    "labeling.products": PRODUCTS,
    "labeling.samples": PRODUCTS | {"labeling.samples"},
    "labeling.live": LIVE,
    "labeling.flow": LIVE,
    "labeling.testing": ENGINE,
    "labeling.cli": EDGES,
    "labeling.cli.templates": {"labeling"},
    "backfill": PRODUCTS,
    "rules": {"labeling"},
}
#: Libraries that belong to some layers only.
CONFINED: Final = {
    "bytewax": {"labeling.flow"},
    "click": {"labeling.cli"},
    "confluent_kafka": {"labeling.io"},
    "duckdb": {"labeling.io", "backfill", "labeling.cli"},
    "pytest": {"labeling.testing"},
    "rich": {"labeling.cli"},
}
CLOCKS: Final = re.compile(
    r"\b(time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns)"
    r"|datetime\.(now|utcnow|today)|date\.today)$"
)
#: ``noqa`` and ``type: ignore`` name their codes and then say why.
REASON: Final = re.compile(
    r"(noqa: *[A-Z]+\d+(?:, *[A-Z]+\d+)*|type: *ignore\[[\w\-, ]+\])(?P<rest>.*)"
)


def files_of(*folders: str) -> list[Path]:
    """The Python files in these folders, by name."""
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    """The dotted name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str | None:
    """The layer that a module belongs to; None where it is not ours."""
    parts = module.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in LAYERS), None)


def is_module(name: str) -> bool:
    """Whether a dotted name is a file or a folder of the project."""
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it, relative names resolved."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            origin = ".".join([*base, *filter(None, [node.module])]) if node.level else node.module
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                yield inner if is_module(inner) else origin or inner


@pytest.mark.parametrize("path", files_of("labeling", "backfill", "rules"), ids=module_of)
def test_imports_point_one_way(path: Path) -> None:
    """A file imports only from layers below its own, and libraries that its layer may use."""
    layer = layer_of(module_of(path))
    assert layer is not None
    for name in imports_of(path):
        target = layer_of(name)
        if target is not None:
            assert target == layer or target in LAYERS[layer], f"{layer} may not import {name}"
        library = name.split(".", maxsplit=1)[0]
        assert layer in CONFINED.get(library, {layer}), f"{layer} may not import {library}"


def test_layers_tell_a_wrong_import() -> None:
    """The names behind the check above resolve: a lower layer importing a higher one is seen."""
    assert layer_of("labeling.io.store.commit") == "labeling.io"
    assert layer_of("labeling.modelling") == "labeling"
    assert layer_of("polars") is None
    assert "labeling.io" not in LAYERS["labeling.engine"]
    assert "labeling.errors" in imports_of(ROOT / "labeling" / "cli" / "main.py")


@pytest.mark.parametrize("path", files_of("labeling", "backfill", "rules"), ids=module_of)
def test_nothing_below_the_command_line_reads_a_clock(path: Path) -> None:
    """Time comes from the data (law 7): only ``labeling.cli`` may ask what time it is."""
    if layer_of(module_of(path)) == "labeling.cli":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert not [name for name in names if CLOCKS.search(name)]


@pytest.mark.parametrize("path", files_of(*FOLDERS), ids=module_of)
def test_a_file_is_one_concept(path: Path) -> None:
    """No file is longer than 350 lines."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", files_of(*FOLDERS), ids=module_of)
def test_exemptions_in_code_have_reasons(path: Path) -> None:
    """``noqa`` and ``type: ignore`` name a code, and the reason follows on the line."""
    text = io.StringIO(path.read_text(encoding="utf-8"))
    for token in tokenize.generate_tokens(text.readline):
        if token.type == tokenize.COMMENT and re.match(r"#\s*(noqa|type:\s*ignore)", token.string):
            exemption = list(REASON.finditer(token.string))
            assert exemption, f"line {token.start[0]}: name the code"
            reason = re.sub(r"[^A-Za-z]", "", exemption[-1]["rest"])
            assert len(reason) >= len("sorted"), f"line {token.start[0]}: say why"
            assert "ruff: noqa" not in token.string


def test_exemptions_in_the_configuration_have_reasons() -> None:
    """Each rule that pyproject.toml switches off, for all or for some files, says why."""
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    codes = [line for line in lines if re.match(r'\s+"[A-Z]+\d*",', line)]
    lint = tomllib.loads("\n".join(lines))["tool"]["ruff"]["lint"]
    listed = [*lint["ignore"], *(c for some in lint["per-file-ignores"].values() for c in some)]
    assert len(codes) == len(listed)
    assert not [line for line in codes if not re.search(r"#\s*\S.{7,}", line)]
    off = [
        line for line in lines if re.match(r"(ignore_\w+|disable_\w+|disallow_\w+ = false)", line)
    ]
    assert not [line for line in off if "#" not in line]
