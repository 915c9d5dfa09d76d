"""A small schema registry: Confluent's HTTP API for what a reader and a producer ask.

Always holds: a schema has one number, for ever; a subject counts its versions from 1; what is not
there is a 404 with the registry's own codes. ``down`` makes it answer 503, ``user`` asks for basic
auth, ``token`` for a bearer's.

Not promised: compatibility checks, deletion, or .proto texts: Protobuf is registered serialized.
"""

from __future__ import annotations

import base64
import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlparse

Schema = dict[str, Any]
_NO_SUBJECT: Final = (404, {"error_code": 40401, "message": "Subject not found."})
_NO_VERSION: Final = (404, {"error_code": 40402, "message": "Version not found."})
_NO_SCHEMA: Final = (404, {"error_code": 40403, "message": "Schema not found"})
_JSON: Final = "application/vnd.schemaregistry.v1+json"


class RegistryServer(ThreadingHTTPServer):
    """Serves on a free port of loopback; ``asked`` are the paths of the requests so far."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.down = False
        self.user: str | None = None
        self.token: str | None = None
        self.asked: list[str] = []
        self._schemas: list[Schema] = []
        self._subjects: dict[str, list[int]] = {}

    def register(
        self,
        subject: str,
        schema: str,
        kind: str = "AVRO",
        references: tuple[tuple[str, str, int], ...] = (),
    ) -> int:
        """Register over HTTP, as a producer does; references are (name, subject, version)."""
        body: Schema = {"schema": schema, "schemaType": kind}
        body["references"] = [
            {"name": name, "subject": of, "version": version} for name, of, version in references
        ]
        request = urllib.request.Request(  # noqa: S310 - its own address
            f"{self.url}/subjects/{subject}/versions",
            json.dumps(body).encode(),
            {"Content-Type": _JSON},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
            found: int = json.loads(answer.read())["id"]
            return found

    def answer(self, path: str, query: dict[str, list[str]], body: Schema | None) -> Any:
        """Status and JSON for one request."""
        match [unquote(part) for part in path.strip("/").split("/")]:
            case ["schemas", "ids", number] if body is None:
                return self._by_number(int(number), query)
            case ["subjects", subject, "versions"] if body is not None:
                return 200, {"id": self._add(subject, body)}
            case ["subjects", subject, "versions"]:
                numbers = self._subjects.get(subject)
                return (200, list(range(1, len(numbers) + 1))) if numbers else _NO_SUBJECT
            case ["subjects", subject, "versions", version]:
                return self._by_version(subject, version, query)
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _add(self, subject: str, body: Schema) -> int:
        schema = {name: value for name, value in body.items() if value}
        if schema not in self._schemas:
            self._schemas.append(schema)
        number = self._schemas.index(schema) + 1
        versions = self._subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return number

    def _by_number(self, number: int, query: dict[str, list[str]]) -> Any:
        if not 1 <= number <= len(self._schemas):
            return _NO_SCHEMA
        schema = dict(self._schemas[number - 1])
        if schema["schemaType"] == "PROTOBUF" and query.get("format") != ["serialized"]:
            schema["schema"] = 'syntax = "proto3"; // ask for format=serialized'
        return 200, schema

    def _by_version(self, subject: str, version: str, query: dict[str, list[str]]) -> Any:
        numbers = self._subjects.get(subject)
        if numbers is None:
            return _NO_SUBJECT
        place = len(numbers) if version == "latest" else int(version)
        if not 1 <= place <= len(numbers):
            return _NO_VERSION
        number = numbers[place - 1]
        found = self._by_number(number, query)[1]
        return 200, {**found, "subject": subject, "version": place, "id": number}


class _Handler(BaseHTTPRequestHandler):
    server: RegistryServer

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Schema | None) -> None:
        self.server.asked.append(self.path)
        told = self.headers.get("Authorization")
        if self.server.down:
            status, found = 503, {"error_code": 50301, "message": "down for a while"}
        elif body is None and told != self._wanted():
            status, found = 401, {"error_code": 401, "message": "Unauthorized"}
        else:
            path = urlparse(self.path)
            status, found = self.server.answer(path.path, parse_qs(path.query), body)
        text = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", _JSON)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _wanted(self) -> str | None:
        """The header that the server's auth asks for; without auth whatever came."""
        if self.server.user is not None:
            return "Basic " + base64.b64encode(self.server.user.encode()).decode()
        if self.server.token is not None:
            return f"Bearer {self.server.token}"
        return self.headers.get("Authorization")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def registry_server() -> Iterator[RegistryServer]:
    """A running registry; stopped and closed afterwards."""
    with RegistryServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
