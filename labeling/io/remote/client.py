"""Requests to the process that serves a store.

Always holds: an answer is the other side's, or an error that says what it said; nothing is sent
through a proxy.

Not promised: that a write whose answer did not arrive was not done; the message says so.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import labeling.errors
from labeling.errors import LabelingError, StoreError
from labeling.io.remote.live import Live
from labeling.io.remote.parcel import CONTENT_TYPE

#: Whoever listens accepts a connection sooner than this, and an endpoint greets.
_CONNECT_S: Final = 5
_GREET_S: Final = 10
_BLOCK: Final = 1 << 20


class Client:
    """Speaks to one endpoint with its token."""

    def __init__(self, live: Live) -> None:
        self.live = live
        host, _, port = live.address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)

    def greet(self) -> dict[str, Any] | None:
        """What the endpoint says of itself; None where no endpoint of this token answers."""
        try:
            with self._answer("GET", "/store", None, {}, timeout_s=_GREET_S) as answer:
                told = json.loads(answer.read())
        except (LabelingError, OSError, ValueError, http.client.HTTPException):
            return None
        return told if isinstance(told, dict) else None

    def look(self, path: str) -> dict[str, Any]:
        """What is told at a path, as JSON.

        Raises:
            LabelingError: as for ``ask``.
        """
        with self._explained(), self._answer("GET", path, None, {}) as answer:
            told: dict[str, Any] = json.loads(answer.read())
        return told

    @contextmanager
    def ask(self, path: str, body: dict[str, Any]) -> Iterator[http.client.HTTPResponse]:
        """Post JSON; the answer is open inside the block.

        Raises:
            LabelingError: of the class and with the message that the other side raised.
        """
        headers = {"Content-Type": "application/json"}
        with self._explained(), self._answer("POST", path, json.dumps(body), headers) as answer:
            yield answer

    @contextmanager
    def send(self, path: str, parcel: IO[bytes]) -> Iterator[http.client.HTTPResponse]:
        """Post a parcel, from its begin; the answer is open inside the block.

        Raises:
            LabelingError: as for ``ask``.
        """
        size = parcel.seek(0, 2)
        parcel.seek(0)
        headers = {"Content-Type": CONTENT_TYPE, "Content-Length": str(size)}
        with self._explained(), self._answer("POST", path, parcel, headers) as answer:
            yield answer

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            raise StoreError(
                f"process {self.live.pid}, which serves the store at {self.live.address}, ended "
                f"before it answered ({error}); look whether it runs, then run this again"
            ) from error

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        body: str | IO[bytes] | None,
        headers: dict[str, str],
        *,
        timeout_s: float | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(
            self._host, self._port, timeout=_CONNECT_S, blocksize=_BLOCK
        )
        try:
            connection.connect()
            # A long answer is not a lost one: the other side ends it, or the connection breaks.
            connection.sock.settimeout(timeout_s)
            connection.request(
                method, path, body, {**headers, "Authorization": f"Bearer {self.live.token}"}
            )
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise _error(answer)
            yield answer
        finally:
            connection.close()


def _error(answer: http.client.HTTPResponse) -> LabelingError:
    """The error that an answer tells of."""
    text = answer.read().decode(errors="replace")
    try:
        told = json.loads(text)
        kind, message = getattr(labeling.errors, told["kind"]), str(told["error"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return StoreError(f"the endpoint answered {answer.status}: {text[:200]}")
    if isinstance(kind, type) and issubclass(kind, LabelingError):
        return kind(message)
    return StoreError(message)
