"""Hostile JSON records: the texts and mutations that break decoders, made from a random source."""

from __future__ import annotations

import json
from random import Random

import polars as pl

TEXT = pl.String()
#: What the records are read as: values, an object in an object, lists of values and of objects.
SHAPE: dict[str, pl.DataType] = {
    "a": TEXT,
    "b": TEXT,
    "s": pl.Struct({"x": TEXT, "y": pl.Struct({"z": TEXT})}),
    "l": pl.List(TEXT),
    "o": pl.List(pl.Struct({"p": TEXT, "q": TEXT})),
}
SOUND = ["1", '"x"', "null", "1.5", "true", '"é"', '"\\u00e9"', '"\\ud83d\\ude00"', '""']
HOSTILE = [
    "1.0", "1e3", "-0", "-0.0", "1.10", "1e400", "-1e400", "1e-400", "5e-324",
    "1.7976931348623157e308",
    "12345678901234567890", "9" * 38, "9" * 39, "1" * 400, "18446744073709551616",
    "9007199254740993.0",
    "1388057470669399.25", '"\\ud83d"', '"\\ude00"', '"\\ud83d\\u0041"', '"\\u0000"', '"{"', '"[x"',
    "{}", "[]", '{"k":1}', "[1,2.50]", '"\\/"', "01", "+1", ".5", "1.", "nan", "NaN", "Infinity",
    "tru",
    '"\\x41"', '"tab\there"', '"nul\x00"', "'x'", '"\\u12"', "[[[[1]]]]", "-", '"1"', "\u00a01",
]  # fmt: skip
BYTES = b'\n\x00\xff{}[],:"\\ \r\t0e.'


def record(rng: Random) -> bytes:
    """One record: mostly of the shape, some values of another, some bytes changed."""
    names = rng.choices(["a", "b", "s", "l", "o", "z", "\\u0061"], k=rng.randint(0, 6))
    pairs = [
        f'"{name}":{_hostile(rng) if rng.random() < 0.3 else _sound(rng, name)}' for name in names
    ]
    made = ("{" + rng.choice([",", ", ", ",\n"]).join(pairs) + "}").encode()
    return mutated(rng, made) if rng.random() < 0.15 else made


def mutated(rng: Random, made: bytes) -> bytes:
    """Those bytes with one to three changed, lost or added."""
    bytes_ = bytearray(made)
    for _ in range(rng.randint(1, 3)):
        place, kind = rng.randrange(len(bytes_) + 1), rng.random()
        if kind < 0.4 and place < len(bytes_):
            bytes_[place] = rng.randrange(256)
        elif kind < 0.7 and place < len(bytes_):
            del bytes_[place : place + rng.choice([1, 1, 20])]
        else:
            bytes_.insert(place, rng.choice(BYTES))
    return bytes(bytes_)


def _number(rng: Random) -> str:
    if rng.random() < 0.5:
        return repr(rng.uniform(-1, 1) * 10 ** rng.randint(-30, 30))
    return str(rng.randint(-(10**24), 10**24))


def _hostile(rng: Random, depth: int = 0) -> str:
    kind = rng.random()
    if kind < 0.5 or depth > 3:
        return rng.choice([*HOSTILE, *SOUND])
    if kind < 0.65:
        return _number(rng)
    inner = [_hostile(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    if kind < 0.8:
        return f"[{','.join(inner)}]"
    return "{" + ",".join(f"{json.dumps(rng.choice('xyzpqk'))}:{value}" for value in inner) + "}"


def _sound(rng: Random, name: str) -> str:
    value = rng.choice(SOUND)
    count = rng.randint(0, 3)
    if name == "s":
        return rng.choice(["null", "{}", f'{{"x":{value},"y":{{"z":{rng.choice(SOUND)}}}}}'])
    if name == "l":
        return f"[{','.join(rng.choices(SOUND, k=count))}]"
    if name == "o":
        objects = ['{"p":' + v + "}" for v in rng.choices(SOUND, k=count)]
        return f"[{','.join(objects)}]"
    return value
