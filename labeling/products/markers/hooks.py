"""Who is told of markers: a web address, or a command. One telling is one try.

Always holds: what returns was taken: an answer of 200 to 299, or an exit status of 0. Redirections
are not followed. A marker carries what tells it from all others, so that who is told twice can see
it: ``Idempotency-Key`` has rule, version, hour and revision.

Not promised: that who did not answer did not hear.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import httpx2

from labeling.config.offline import Webhook
from labeling.errors import DataError
from labeling.products.markers.rows import marker_key, marker_lines

Marker = Mapping[str, Any]
_OK: Final = range(200, 300)
_LOOK_S: Final = 0.1
#: A command that is under way when the end is asked for may take so long to end by itself.
_END_S: Final = 5.0
_MOST_TEXT: Final = 200


class Hook(Protocol):
    """Somebody who is told of markers."""

    @property
    def name(self) -> str:
        """What progress is kept under."""

    def wants(self, marker: Marker) -> bool:
        """Whether the marker is for this one."""

    def tell(self, marker: Marker, stop: threading.Event) -> None:
        """Tell one marker, once.

        Raises:
            DataError: it was not taken.
        """


@dataclass(frozen=True)
class WebHook:
    """A ``[[webhook]]``; ``name`` is its URL, with a number where several have the same."""

    name: str
    config: Webhook
    _client: httpx2.Client = field(init=False)

    def __post_init__(self) -> None:
        """Make the client, which keeps its connection."""
        client = httpx2.Client(timeout=self.config.timeout_ms / 1000)
        object.__setattr__(self, "_client", client)

    def wants(self, marker: Marker) -> bool:
        """By rule (``name`` or ``name@version``) and state."""
        config = self.config
        named = {marker["rule"], f"{marker['rule']}@{marker['version']}"}
        return marker["state"] in config.states and (
            not config.rules or not named.isdisjoint(config.rules)
        )

    def tell(self, marker: Marker, stop: threading.Event) -> None:
        """POST the marker as JSON."""
        del stop
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": f"{marker_key(marker)}|{marker['revision']}",
        }
        try:
            answer = self._client.post(
                self.config.url, content=marker_lines([marker]).encode(), headers=headers
            )
        except (httpx2.HTTPError, OSError) as error:
            raise DataError(f"{self.name}: {str(error) or type(error).__name__}") from error
        if answer.status_code not in _OK:
            text = answer.text[:_MOST_TEXT]
            raise DataError(f"{self.name} answered {answer.status_code}: {text}")


@dataclass(frozen=True)
class Command:
    """A command of the shell, run for each marker with its JSON on standard input."""

    run: str

    @property
    def name(self) -> str:
        """The command itself."""
        return f"exec {self.run}"

    def wants(self, marker: Marker) -> bool:
        """All of them."""
        del marker
        return True

    def tell(self, marker: Marker, stop: threading.Event) -> None:
        """Run it."""
        line = marker_lines([marker]).encode()
        with subprocess.Popen(["/bin/sh", "-c", self.run], stdin=subprocess.PIPE) as process:  # noqa: S603 - the operator's own command
            status = _status(process, line, stop)
        if status != 0:
            raise DataError(f"{self.name}: status {status}")


def _status(process: subprocess.Popen[bytes], line: bytes, stop: threading.Event) -> int:
    """The status of a command once it has ended; one that does not is ended after ``stop``."""
    given: bytes | None = line
    left_s = _END_S
    while left_s > 0:
        try:
            process.communicate(given, timeout=_LOOK_S)
        except subprocess.TimeoutExpired:
            given = None
            left_s -= _LOOK_S if stop.is_set() else 0
        else:
            return process.returncode
    process.terminate()
    return process.wait()


def hooks_of(webhooks: tuple[Webhook, ...], command: str | None) -> list[Hook]:
    """Everybody who is told, by the configuration and the command line."""
    found: list[Hook] = []
    seen: dict[str, int] = {}
    for config in webhooks:
        number = seen[config.url] = seen.get(config.url, 0) + 1
        name = config.url if number == 1 else f"{config.url} #{number}"
        found.append(WebHook(name, config))
    return [*found, Command(command)] if command else found
