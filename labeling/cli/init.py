"""``labeling init``: a small working project to start from.

Always holds: a folder that has anything in it is left as it is; the project that was written
passes its own golden case and ``labeling check`` as it stands.

Not promised: that the rule fits your log. The README that is written says what to change first.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Final

import click

from labeling.errors import ConfigError

#: Names that a package would not carry, or that tools would read where the templates lie.
RENAMED: Final = {"gitignore": ".gitignore"}


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Write a small working project into DIR: configuration, one rule, one golden case.

    DIR is made if it is not there. A folder with anything in it is refused.

    \b
    Example:
      labeling init shop
      cd shop
      labeling golden
    """
    for path in write_project(folder):
        click.echo(f"wrote {path}")
    click.echo(f"next: cd {folder} && labeling golden   (README.md has the rest)")


def write_project(folder: Path, template: str = "templates") -> list[Path]:
    """Write a project into ``folder``.

    Args:
        folder: where to; made if it is not there.
        template: the folder beside this module whose files are written.

    Returns:
        The files written, in the order of their names.

    Raises:
        ConfigError: ``folder`` is a file, has something in it, or cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     written = write_project(Path(place) / "shop")
    ...     "labeling.toml" in [path.name for path in written]
    True
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder}: not empty; name a new folder, such as {folder}/labels")
        written = []
        for name, text in sorted(_walk(files("labeling.cli") / template, PurePosixPath())):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.read_bytes())
            written.append(path)
    except NotADirectoryError:
        raise ConfigError(f"{folder}: a file is in the way; name a new folder") from None
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from error
    return written


def _walk(place: Traversable, under: PurePosixPath) -> Iterator[tuple[str, Traversable]]:
    """Path inside the project, and the template, of every file."""
    for entry in place.iterdir():
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _walk(entry, under / entry.name)
        else:
            yield str(under / RENAMED.get(entry.name, entry.name)), entry
