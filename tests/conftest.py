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
    from tests.kafka_broker import Broker  # noqa: PLC0415 - most runs need no Kafka client

    one = Broker()
    try:
        one.start()
        yield one
    finally:
        one.close()
