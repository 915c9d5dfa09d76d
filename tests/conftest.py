"""Shared by all tests: pytest's own fixture for running pytest inside a test, and a Kafka broker.

Always holds: the broker starts with the first test that asks for it, once per run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kafka_broker import Broker

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A real broker, running; a test that stops it starts it again."""
    from tests.kafka_broker import started  # noqa: PLC0415 - most runs need no Kafka client

    with started() as one:
        yield one


#: Files that take minutes, the longest first: begun last they would keep one worker busy alone.
LONG = (
    "test_live_golden",
    "test_live_crash",
    "test_live_chaos",
    "test_live_arrival",
    "test_repair",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, in an order otherwise as random as it is."""
    place = {name: n for n, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))
