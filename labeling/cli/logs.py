"""How a running flow says what it does: lines for people, or JSON for machines, on stderr.

Always holds: one event is one line; as JSON it has ``time`` (ISO 8601, UTC), ``level`` and
``message``.

Not promised: that librdkafka's own lines look the same. It writes them itself.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

FORMATS: Final = ("text", "json")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def start_logging(form: str) -> None:
    """Send the log to stderr in one of ``FORMATS``."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(_Json() if form == "json" else text)
    log = logging.getLogger("labeling")
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
