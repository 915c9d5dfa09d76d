"""Sizes of memory as people write them.

Always holds: a size is a whole number of bytes, above zero.

Not promised: that the machine has so many.
"""

from __future__ import annotations

import re
from typing import Any, Final

_BYTES: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?")


def size_bytes(text: str) -> int:
    """Bytes of a size such as ``"4GB"``, ``"512MiB"`` or ``"1.5G"``.

    Raises:
        ValueError: not a positive number with an optional unit.

    >>> size_bytes("4GB"), size_bytes("1KiB")
    (4000000000, 1024)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"size {text!r}: write a number and a unit, such as '4GB' or '512MiB'")
    if match[3] and not match[2]:
        raise ValueError(f"size {text!r}: write 'KiB', 'MiB', 'GiB' or 'TiB'")
    power = " KMGT".index(match[2]) if match[2] else 0
    unit: int = 1024**power if match[3] else _BYTES[match[2]]
    return int(float(match[1]) * unit)


def size(value: Any) -> Any:
    """A text as a size; anything else as it is."""
    return size_bytes(value) if isinstance(value, str) else value
