"""``labeling notify``: clause M8, with a web server of our own and commands of the shell.

Always holds: what the server took, and in which order, is what is compared; a server that refuses
does so by its answers.

Not promised: other people's web servers.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from labeling.cli.main import group
from labeling.io.durable import put_in_place
from labeling.io.store import Store
from tests.replay_project import ReplayProject, event, same_modules

HOURS = ("2026-11-20T10", "2026-11-20T11")
ALL = [(h, s) for h in HOURS for s in ("complete", "settled")]


@dataclass
class Server:
    """Takes POSTs; the first ``refusals`` of them are answered 503."""

    refusals: int = 0
    taken: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    port: int = 0

    def url(self, path: str = "/markers") -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def told(self) -> list[tuple[str, str]]:
        """Hour and state of what was taken."""
        return [(m["hour"][:13], m["state"]) for m in self.taken]


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serve on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.keys.append(self.headers["Idempotency-Key"])
            refused = self.path == "/gone" or server.refusals > 0
            server.refusals -= 1
            if not refused:
                server.taken.append(json.loads(body))
            self.send_response(503 if refused else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.port = http.server_port
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server."""
    with serving(Server()) as one:
        yield one


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No second passes between two tries."""
    monkeypatch.setattr("labeling.products.markers.notify.waits", lambda: iter([0.01] * 100))


def project_of(folder: Path, *hooks: str) -> ReplayProject:
    """Two hours, settled, and webhooks."""
    project = ReplayProject(folder)
    project.take_in("a", [event("show", 10), event("show", 3_700), event("show", 10_800)])
    assert project.replay().exit_code == 0
    path = folder / "labeling.toml"
    path.write_text(path.read_text() + "".join(f"\n[[webhook]]\n{hook}\n" for hook in hooks))
    return project


def notify(project: ReplayProject, *args: str) -> Result:
    """Tell what there is, in this process."""
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    options = ("--config", str(project.folder / "labeling.toml"))
    try:
        with same_modules():
            return CliRunner().invoke(group, ["notify", *args, *options])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@pytest.mark.usefixtures("quick")
def test_told_in_order_and_once(tmp_path: Path, server: Server) -> None:
    """Every marker, refused ones again before the next; another run tells only what is new."""
    project = project_of(tmp_path, f'url = "{server.url()}"')
    server.refusals = 3
    assert notify(project, "--once").exit_code == 0
    assert server.told == ALL
    assert server.keys == [*["shown@1|2026-11-20T10|1"] * 4, *(
        f"shown@1|{hour}|{n}" for hour, n in ((HOURS[0], 2), (HOURS[1], 1), (HOURS[1], 2))
    )]  # fmt: skip
    assert notify(project, "--once").exit_code == 0
    assert len(server.taken) == len(ALL)
    project.take_in("b", [event("click", 20)])
    assert project.replay().exit_code == 0
    assert notify(project, "--once").exit_code == 0
    assert server.told[len(ALL) :] == [(HOURS[0], "republished")]
    assert server.taken[-1]["delta_rows"] == 0


@pytest.mark.usefixtures("quick")
def test_one_that_fails_does_not_hold_back_others(tmp_path: Path, server: Server) -> None:
    """Rules and states choose; who fails is told of, and later told from where it stopped."""
    out = tmp_path / "out"
    project = project_of(
        tmp_path,
        f'url = "{server.url("/gone")}"',
        f'url = "{server.url()}"\nstates = "settled"',
        f'url = "{server.url()}"\nrules = "other"',
    )
    ended = notify(project, "--once", "--exec", f"cat >> {out}")
    assert (ended.exit_code, "/gone answered 503" in ended.output) == (1, True)
    assert server.told == [(h, "settled") for h in HOURS]
    assert [json.loads(line)["state"] for line in out.read_text().splitlines()] == [
        s for _, s in ALL
    ]
    path = tmp_path / "labeling.toml"
    path.write_text(path.read_text().replace("/gone", "/markers?"))
    assert notify(project, "--once", "--skip").exit_code == 0
    assert notify(project, "--once").exit_code == 0
    assert len(server.taken) == 2, "what was skipped is not told"


@pytest.mark.usefixtures("quick")
def test_a_death_between_delivery_and_note(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not noted is told again; nothing is left out."""
    project = project_of(tmp_path, f'url = "{server.url()}"')
    number = iter(range(100))

    def dying(*_: object) -> None:
        if next(number) == 2:
            raise RuntimeError("died before it was noted")

    with monkeypatch.context() as patch:
        # The third file is written and has no name yet.
        def put(half: Path, path: Path) -> None:
            dying()
            put_in_place(half, path)

        patch.setattr("labeling.products.markers.notify.put_in_place", put)
        assert notify(project, "--once").exit_code == 1
    assert server.told == ALL[:3]
    assert notify(project, "--once").exit_code == 0
    assert server.told == [*ALL[:3], *ALL[2:]]


def test_processes(tmp_path: Path, server: Server) -> None:
    """Killed at any instant it goes on; a second one is refused; SIGTERM ends it with status 0."""
    project = project_of(tmp_path, f'url = "{server.url()}"')
    server.refusals = 1_000_000
    with _process(project) as first:
        _until(lambda: len(server.keys) > 0)
        second = notify(project, "--once")
        assert (second.exit_code, "another `labeling notify`" in second.output) == (1, True)
        first.kill()
    server.refusals = 0
    with _process(project) as third:
        _until(lambda: len(server.taken) == len(ALL))
        # It does not hold the store.
        with Store.open(tmp_path / "store.duckdb") as store, store.commit("one more") as commit:
            commit.database.run(
                "INSERT INTO markers SELECT * REPLACE (3 AS revision, 'republished' AS state, "
                f"{commit.number} AS commit) FROM markers WHERE revision = 2"
            )
        _until(lambda: len(server.taken) == len(ALL) + 2)
        third.send_signal(signal.SIGTERM)
        assert third.wait(20) == 0
    assert server.told == [*ALL, *((h, "republished") for h in HOURS)]


def test_nobody_to_tell(tmp_path: Path) -> None:
    """Status 2, with what to write; a progress file that is none is refused, not overwritten."""
    project = project_of(tmp_path)
    ended = notify(project)
    assert (ended.exit_code, "add a [[webhook]]" in ended.output) == (2, True)
    noted = tmp_path / "store.duckdb.notified.json"
    noted.write_text("[]")
    assert notify(project, "--once", "--exec", "cat").exit_code == 1
    assert noted.read_text() == "[]"


@contextmanager
def _process(project: ReplayProject) -> Iterator[subprocess.Popen[bytes]]:
    words = ["notify", "--every", "50ms", "--config", str(project.folder / "labeling.toml")]
    with subprocess.Popen(
        [sys.executable, "-m", "labeling.cli.main", *words], stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
