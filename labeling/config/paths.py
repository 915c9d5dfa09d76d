r"""Paths into a record: ``a.b.c``, with ``\.`` for a dot inside a name.

Always holds: a path is a non-empty tuple of non-empty names. Four first names are taken: in a
block that explodes a list, ``element`` is the element and ``parent`` the record; ``@index`` is
the element's place in its list, counted from 0; ``@cluster``, ``@topic``, ``@partition``,
``@offset`` and ``@broker_ts`` are the record's position.

Not promised: that a record has the path. A path that is not there is a null.
"""

from __future__ import annotations

import re
from typing import Final

INDEX: Final = "@index"
POSITION: Final = ("@cluster", "@topic", "@partition", "@offset", "@broker_ts")
ELEMENT: Final = "element"
PARENT: Final = "parent"

_DOT: Final = re.compile(r"(?<!\\)\.")


def split_path(path: str) -> tuple[str, ...]:
    r"""The names of a path.

    Raises:
        ValueError: the path, or one of its names, is empty.

    >>> split_path(r"geo\.city.name")
    ('geo.city', 'name')
    """
    names = tuple(part.replace("\\.", ".") for part in _DOT.split(path))
    if not all(names):
        raise ValueError(f"path {path!r} has an empty name; write 'a.b.c'")
    return names


def is_reserved(path: str) -> bool:
    """Whether the path is of the record's position rather than of its fields."""
    return path == INDEX or path in POSITION
