"""What the process that holds the store answers over HTTP; see ``server``.

server   listening, the live file, starting and stopping
handler  one request: which path, who may
queries  a question within its limits
answers  a result as JSON or Arrow, written to disk as it comes
commits  a parcel of calls, made in one commit
"""

from labeling.io.endpoint.queries import Limits
from labeling.io.endpoint.server import Endpoint, Pages

__all__ = ["Endpoint", "Limits", "Pages"]
