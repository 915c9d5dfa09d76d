"""The demo's Kafka: librdkafka's small cluster, in a process of its own.

Always holds: its address is the one line that it prints; it ends when its standard input ends, so
that it outlives nobody, however the demo ends.

Not promised: that it keeps more than about 5 MB of a partition.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from labeling.errors import DataError


def main() -> None:
    """Run the cluster until standard input ends."""
    from labeling.io.kafka import MockCluster

    # Ctrl-C is for the demo, which ends the flow first and its broker after it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with MockCluster() as cluster:
        print(cluster.bootstrap, flush=True)  # noqa: T201 - what the parent process waits for
        sys.stdin.read()


@contextmanager
def broker() -> Iterator[str]:
    """The address of a cluster that runs as long as the block.

    Raises:
        DataError: it did not start.
    """
    line = [sys.executable, "-m", "labeling.cli.demo_broker"]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True) as child:  # noqa: S603 - our own
        try:
            address = child.stdout.readline().strip() if child.stdout else ""
            if not address:
                raise DataError("the demo's broker did not start; is loopback there?")
            yield address
        finally:
            if child.stdin:
                child.stdin.close()
            child.wait()


if __name__ == "__main__":
    main()
