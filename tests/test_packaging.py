"""The wheel and the lock file: what a user installs.

Always holds: the wheel carries the library, the templates and the entry points, and not the
operator's trees; it runs outside the checkout; the lock file names versions and hashes only.

Not promised: that a registry still serves the locked versions.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Final

import pytest

import labeling

ROOT: Final = Path(__file__).resolve().parent.parent
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK: Final = (ROOT / "requirements.lock").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built without a network."""
    place = tmp_path_factory.mktemp("wheel")
    run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), "."],
        ROOT,
    )
    (built,) = place.glob("*.whl")
    return built


def run(line: list[str], folder: Path) -> str:
    """What a command prints, without this process's PYTHONPATH; it must end with 0."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ended = subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, f"{line}: {ended.stdout}{ended.stderr}"
    return ended.stdout


def test_the_wheel_holds_the_library_and_not_the_operators_trees(wheel: Path) -> None:
    """``labeling`` with its templates and ``backfill`` are in; rules/, tests/ and others not."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    version = PROJECT["project"]["version"]
    assert labeling.__version__ == version
    assert tops == {"labeling", "backfill", f"labeling_stream-{version}.dist-info"}
    templates = ROOT / "labeling" / "cli" / "templates"
    shipped = [p for p in templates.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    assert {p.relative_to(ROOT).as_posix() for p in shipped} <= set(names)
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_wheel_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Installed into a venv of its own, ``labeling`` says its version and writes a project.

    The dependencies are those of the running environment, by a .pth after the venv's own; what
    is imported as ``labeling`` is the wheel's.
    """
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    site = home / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], tmp_path)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    script = str(home / "bin" / "labeling")
    assert run([script, "--version"], tmp_path).split()[-1] == PROJECT["project"]["version"]
    assert "labeling.toml" in run([script, "init", "shop"], tmp_path)
    assert (tmp_path / "shop" / ".gitignore").is_file()
    where = run([str(python), "-c", "import labeling; print(labeling.__file__)"], tmp_path)
    assert Path(where.strip()).is_relative_to(site)


def test_the_lock_file_holds_versions_and_hashes_and_no_host() -> None:
    """Every line is a pinned name or a hash of 64 digits; nothing tells where from."""
    pin = r"[a-z0-9][a-z0-9-]*==[\w.]+( ; [^;]+)? \\"
    digest = r"    --hash=sha256:[0-9a-f]{64}( \\)?"
    wrong = [line for line in LOCK.splitlines() if not re.fullmatch(f"{pin}|{digest}", line)]
    assert wrong == []


def test_the_lock_file_covers_what_the_project_names() -> None:
    """Each dependency, each tool and the build backend is pinned: ``make lock`` was run."""
    pinned = set(re.findall(r"^([a-z0-9-]+)==", LOCK, re.MULTILINE))
    named = [
        *PROJECT["build-system"]["requires"],
        *PROJECT["project"]["dependencies"],
        *PROJECT["dependency-groups"]["dev"],
    ]
    assert {re.split(r"[<>=! ]", name)[0] for name in named} <= pinned


def test_entry_points_name_modules_of_this_tree() -> None:
    """The script and the plugins that pyproject.toml declares are files here."""
    points = [
        *PROJECT["project"]["scripts"].values(),
        *PROJECT["project"].get("entry-points", {}).get("pytest11", {}).values(),
    ]
    modules = [ROOT.joinpath(*point.split(":")[0].split(".")) for point in points]
    assert not [m for m in modules if not (m.with_suffix(".py").is_file() or m.is_dir())]
