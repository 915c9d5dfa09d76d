"""The endpoint of the process that holds the store.

Always holds: while it runs the live file says where; what it answers never stands in the way of a
commit but for the commits that it makes itself, which take turns with the flow's. When it has
stopped, no commit of another process is half made and nothing of it uses the store.

Not promised: answers in the order of the questions.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import BoundedSemaphore, Lock, Thread
from types import TracebackType
from typing import Any, Final, Self

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from labeling.errors import StoreError
from labeling.io.endpoint.handler import Handler
from labeling.io.endpoint.queries import BusyError, Limits, Queries, step_back
from labeling.io.remote.live import Live, remove_live, write_live
from labeling.io.store import Store
from labeling.io.store.snapshot import STAGED, stage

#: Connections at once; more are closed unanswered.
_CONNECTIONS: Final = 64
_STOP_S: Final = 5.0

Health = Callable[[], tuple[bool, Mapping[str, Any]]]
Status = Callable[[], Mapping[str, Any]]


def _healthy() -> tuple[bool, Mapping[str, Any]]:
    return True, {"ok": True}


@dataclass(frozen=True, slots=True)
class Pages:
    """What the flow tells of itself, from any thread.

    ``health``: whether it is well, and JSON that says more; ``status``: JSON; ``registry``: its
    metrics.
    """

    health: Health = _healthy
    status: Status = dict
    registry: CollectorRegistry | None = None

    def metrics(self) -> tuple[str, bytes]:
        """Content type and text for Prometheus."""
        registry = self.registry or CollectorRegistry()
        return CONTENT_TYPE_LATEST, generate_latest(registry)


class Server(ThreadingHTTPServer):
    """Listens and holds what the handlers share."""

    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], family: int, store: Store, limits: Limits, pages: Pages
    ) -> None:
        self.address_family = socket.AddressFamily(family)
        super().__init__(address, Handler)
        self.store = store
        self.pages = pages
        self.queries = Queries(store, limits, pages.registry)
        self.token = secrets.token_urlsafe(32)
        self.loopback = ip_address(str(self.server_address[0]).partition("%")[0]).is_loopback
        self._connections = BoundedSemaphore(_CONNECTIONS)
        self._writing = Lock()
        self._copying = Lock()
        self._stopped = False

    def server_bind(self) -> None:
        """Bind without asking a name server who we are."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = map(str, self.server_address[:2])  # type: ignore[assignment] # read by CGI alone

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, while there are not too many."""
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no news."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One commit of another process at a time, none once it stops.

        Raises:
            BusyError: it stops.
        """
        with self._writing:
            if self._stopped:
                raise BusyError("the process is about to end")
            yield

    @contextmanager
    def snapshot(self) -> Iterator[tuple[Path, int]]:
        """A copy of the store and its last commit, one at a time; removed if the block fails.

        Raises:
            BusyError: another is being made.
        """
        if not self._copying.acquire(blocking=False):
            raise BusyError("another copy is being made; ask again later")
        step_back()
        try:
            with self.store.database.beside() as db:
                path, commit = stage(db)
            try:
                yield path, commit
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        finally:
            self._copying.release()

    def finish(self) -> None:
        """Let what runs end, and let nothing more begin."""
        self.queries.stop(_STOP_S)
        with self._writing:
            self._stopped = True
        if self._copying.acquire(timeout=_STOP_S):
            self._copying.release()


class Endpoint:
    """The endpoint of a store. Use as a context manager, inside that of the store.

    Args:
        store: open for writing; used from other threads by sessions of their own.
        address: host:port to listen at; port 0 takes a free one.
        limits: of questions.
        pages: what the flow tells of itself.

    Raises:
        StoreError: the address is in use, or not of this machine.

    Example:
        ``with Store.open(path) as store, Endpoint(store, "127.0.0.1:0") as it: print(it.address)``
    """

    def __init__(
        self,
        store: Store,
        address: str,
        *,
        limits: Limits | None = None,
        pages: Pages | None = None,
    ) -> None:
        self._store = store
        self._server = _listen(address, store, limits or Limits(), pages or Pages())
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._stopped = False
        self.live = Live(self.address, os.getpid(), self._server.token, store.run)

    @property
    def address(self) -> str:
        """host:port at which this machine's processes reach it."""
        host, port = self._server.server_address[:2]
        host = str(host)
        if ip_address(host.partition("%")[0]).is_unspecified:
            host = "::1" if ":" in host else "127.0.0.1"
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    def start(self) -> None:
        """Answer from now on, and write the live file.

        Raises:
            StoreError: the file cannot be written.
        """
        for left in self._store.database.spill.glob(STAGED):
            left.unlink(missing_ok=True)
        try:
            write_live(self._store.path, self.live)
        except StoreError:
            self._server.server_close()
            raise
        self._thread.start()

    def stop(self) -> None:
        """Take the live file away; stop questions, finish commits, take no more; twice is once."""
        if self._stopped:
            return
        self._stopped = True
        remove_live(self._store.path, self.live)
        self._server.shutdown()
        self._server.finish()
        self._server.server_close()
        self._thread.join()


def _listen(address: str, store: Store, limits: Limits, pages: Pages) -> Server:
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        family, *_, place = found[0]
        return Server((str(place[0]), int(place[1])), family, store, limits, pages)
    except OSError as error:
        with suppress(AttributeError):
            if error.errno == errno.EADDRINUSE:
                raise StoreError(
                    f"{address} is in use by another program; stop it, or name another address as "
                    "[live] endpoint"
                ) from error
        raise StoreError(
            f"cannot listen at {address}: {error.strerror or error}; name an address of this "
            "machine as [live] endpoint"
        ) from error
