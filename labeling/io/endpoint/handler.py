"""One request: which path it names, and who may ask.

Always holds: what writes needs the token, and so does every question where the endpoint listens
beyond this machine; on this machine a request in the name of another host is refused, so that a
web page cannot ask through a browser. An error is JSON, ``error`` and ``kind``, and ends one
request only.

Not promised: encryption. Beyond this machine put something in front of it.
"""

from __future__ import annotations

import hmac
import json
import logging
import shutil
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final

from labeling.errors import LabelingError, StoreError
from labeling.io.endpoint.answers import JSON, WRITERS
from labeling.io.endpoint.commits import make_commit
from labeling.io.endpoint.queries import BusyError, Question
from labeling.io.remote.database import parcel_file
from labeling.io.remote.parcel import CONTENT_TYPE, Unpacker

if TYPE_CHECKING:
    from labeling.io.endpoint.server import Server

_MAX_JSON: Final = 1 << 20
_COPY: Final = 1 << 20
#: So much of a body that nobody wants is read, so that its sender comes to read the answer.
_DRAIN: Final = 16 << 20
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_LOG: Final = logging.getLogger(__name__)


class RefusedError(StoreError):
    """A request that is answered with a status of its own."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    """Answers one connection with one request."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "labeling", ""
    #: A client that says or takes nothing for so many seconds is gone.
    timeout = 60

    def do_GET(self) -> None:
        """Answer GET."""
        self._route({**self._open_paths(), "/status": self._status, "/store": self._store})

    def do_POST(self) -> None:
        """Answer POST."""
        self._route(
            {
                "/sql": self._sql,
                "/commit": self._commit,
                "/run": self._run,
                "/retain": self._retain,
                "/snapshot": self._snapshot,
            }
        )

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """One line of each request, for those who log at DEBUG."""
        _LOG.debug(format, *args)

    def _open_paths(self) -> dict[str, Callable[[], None]]:
        """What anybody may ask who reaches the address."""
        return {"/health": self._health, "/metrics": self._metrics}

    def _route(self, paths: dict[str, Callable[[], None]]) -> None:
        self.close_connection = True
        self._unread = int(n) if (n := self.headers.get("Content-Length", "")).isdigit() else 0
        path = self.path.partition("?")[0]
        try:
            self._check_host()
            if path not in paths:
                self._nothing()
            if path not in self._open_paths() and not self.server.loopback:
                self._need_token()
            paths[path]()
        except RefusedError as error:
            self._send_error(error.status, error)
        except BusyError as error:
            self._send_error(HTTPStatus.TOO_MANY_REQUESTS, error)
        except LabelingError as error:
            self._send_error(HTTPStatus.BAD_REQUEST, error)
        except ConnectionError:
            _LOG.debug("the client of %s went away", path)
        except Exception as error:  # noqa: BLE001 - a bug here must not end the flow
            _LOG.exception("a bug while answering %s", path)
            self._send_error(HTTPStatus.INTERNAL_SERVER_ERROR, StoreError(repr(error)))

    def _nothing(self) -> None:
        raise RefusedError(HTTPStatus.NOT_FOUND, f"nothing at {self.path} for {self.command}")

    # ---- who may ask --------------------------------------------------------------------------

    def _check_host(self) -> None:
        """A browser names the host of the page's address, and where the page is from."""
        named = self.headers.get("Host", "")
        host = named if named.endswith("]") else named.rpartition(":")[0] or named
        if self.server.loopback and host.strip("[]").lower() not in _LOCAL:
            raise RefusedError(
                HTTPStatus.FORBIDDEN, f"this machine only; {named!r} is another host"
            )
        origin = self.headers.get("Origin")
        if origin is not None and origin.partition("//")[2] != named:
            raise RefusedError(HTTPStatus.FORBIDDEN, f"a page of {origin} may not ask here")

    def _has_token(self) -> bool:
        given = self.headers.get("Authorization", "")
        expected = f"Bearer {self.server.token}"
        return hmac.compare_digest(given.encode(), expected.encode())

    def _need_token(self) -> None:
        if not self._has_token():
            raise RefusedError(
                HTTPStatus.UNAUTHORIZED,
                "send the token of the file beside the store: Authorization: Bearer TOKEN",
            )

    # ---- reading ------------------------------------------------------------------------------

    def _health(self) -> None:
        good, told = self.server.pages.health()
        self._send_json(told, HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE)

    def _status(self) -> None:
        self._send_json(self.server.pages.status())

    def _metrics(self) -> None:
        content_type, text = self.server.pages.metrics()
        self._send(text, content_type)

    def _store(self) -> None:
        self._need_token()
        store = self.server.store
        self._send_json({"store_id": store.store_id, "run": store.run})

    def _sql(self) -> None:
        with self.server.queries.answer(self._question()) as answer:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(answer.size))
            self.send_header("X-Labeling-Commit", str(answer.told["commit"]))
            self.send_header("X-Labeling-Truncated", str(answer.told["truncated"]).lower())
            self.send_header("Connection", "close")
            self.end_headers()
            shutil.copyfileobj(answer.stream, self.wfile, _COPY)

    def _question(self) -> Question:
        if self.headers.get_content_type() == CONTENT_TYPE:
            return self._packed_question()
        body = self._json()
        sql, form, rows = body.get("sql"), body.get("format", "json"), body.get("rows")
        if not isinstance(sql, str) or form not in WRITERS:
            raise StoreError('send {"sql": "SELECT ...", "format": "json" or "arrow", "rows": N}')
        if rows is not None and (not isinstance(rows, int) or rows < 1):
            raise StoreError("rows: a number from 1 on")
        return Question(sql, form, rows, trusted=self._has_token())

    def _packed_question(self) -> Question:
        """What a ``RemoteDatabase`` asks: parameters and frames come with it."""
        self._need_token()
        with parcel_file(self.server.store.database.spill) as stream:
            self._receive(stream)
            parcel = Unpacker(stream)
            told = parcel.unpack(parcel.value)
        return Question(
            told["sql"],
            "arrow",
            params=tuple(told["params"]),
            given=told["given"],
            trusted=True,
            patient=bool(told["patient"]),
        )

    # ---- writing ------------------------------------------------------------------------------

    def _commit(self) -> None:
        self._need_token()
        with parcel_file(self.server.store.database.spill) as stream:
            self._receive(stream)
            with self.server.writing(), self.server.store.beside() as store:
                self._send_json(make_commit(store, stream))

    def _run(self) -> None:
        self._need_token()
        with self.server.writing(), self.server.store.beside() as store:
            self._send_json({"run": store.new_run()})

    def _retain(self) -> None:
        self._need_token()
        keep_ms = self._json()["keep_ms"]
        with self.server.writing(), self.server.store.beside() as store:
            self._send_json({"dropped": store.retain(keep_ms)})

    def _snapshot(self) -> None:
        self._need_token()
        with self.server.snapshot() as (path, commit):
            self._send_json({"path": str(path), "commit": commit})

    # ---- the wire -----------------------------------------------------------------------------

    def _length(self) -> int:
        text = self.headers.get("Content-Length", "")
        if not text.isdigit():
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length")
        return int(text)

    def _read(self, size: int) -> bytes:
        """So much of the body.

        Raises:
            ConnectionError: the client went away.
        """
        block = self.rfile.read(size)
        self._unread -= len(block)
        if len(block) < size:
            raise ConnectionResetError("half a body")
        return block

    def _json(self) -> dict[str, Any]:
        size = self._length()
        if size > _MAX_JSON:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {_MAX_JSON} bytes")
        try:
            body = json.loads(self._read(size))
        except (ValueError, RecursionError) as error:
            raise StoreError(f"the body is no JSON: {error}") from error
        if not isinstance(body, dict):
            raise StoreError("the body is no JSON object")
        return body

    def _receive(self, stream: Any) -> None:
        """The body into a file; a client that goes away half-way leaves nothing.

        Raises:
            ConnectionError: it went away.
        """
        left = self._length()
        while left:
            block = self._read(min(left, _COPY))
            stream.write(block)
            left -= len(block)

    def _send_json(self, body: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(body, default=str).encode(), JSON, status)

    def _send_error(self, status: HTTPStatus, error: LabelingError) -> None:
        kind = (
            type(error).__name__ if type(error) not in {RefusedError, BusyError} else "StoreError"
        )
        try:
            while 0 < self._unread <= _DRAIN:
                self._read(min(self._unread, _COPY))
            self._send_json({"error": str(error), "kind": kind}, status)
        except OSError:
            _LOG.debug("nobody waits for: %s", error)

    def _send(self, body: bytes, content_type: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
