"""A store served in this process, and ways to ask it from outside."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labeling.io.endpoint import Endpoint, Limits
from labeling.io.endpoint.server import Pages
from labeling.io.store import Store
from tests.store_shapes import CLICKS, changes, key, value


@dataclass(frozen=True)
class Reply:
    """An answer: ``body`` as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Served:
    """A store and its endpoint."""

    store: Store
    endpoint: Endpoint

    def request(
        self, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """GET, or POST where there is a body (bytes as they are, else JSON)."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = f"http://{self.endpoint.address}{path}"
        asked = urllib.request.Request(url, data=data, headers=dict(headers or {}))
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310 - our own address
                return Reply(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, dict(error.headers), error.read())

    def sql(self, sql: str, **more: Any) -> Reply:
        """Ask without a token."""
        return self.request("/sql", {"sql": sql, **more})

    @property
    def token(self) -> dict[str, str]:
        """The header that may write."""
        return {"Authorization": f"Bearer {self.endpoint.live.token}"}


@contextmanager
def served(
    path: Path, *, limits: Limits | None = None, pages: Pages | None = None
) -> Iterator[Served]:
    """Serve the store at a path on a free port; it is made with two rows if it is new."""
    new = not path.exists()
    with Store.open(path) as store:
        if new:
            with store.commit("rows") as commit:
                rows = [(key(u, 1), 1, "insert", None, value(2_500_000)) for u in ("a", "b")]
                commit.publish(CLICKS, changes(rows))
        with Endpoint(store, "127.0.0.1:0", limits=limits, pages=pages) as endpoint:
            yield Served(store, endpoint)
