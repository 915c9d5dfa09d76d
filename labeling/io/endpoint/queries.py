"""Answering one question within its limits.

Always holds: a question sees the store as of one commit and changes nothing; it runs in a
transaction that may only read, in a session of its own that reaches no file, and takes no lock that
a commit waits for. It is stopped when its time is over or its memory is used up; its rows are
cut, and the answer says so. An answer lies on disk before it is sent, so that a slow reader holds
nothing open.

Not promised: that a single call of a function is stopped while it makes one huge value. Those that
make one of any size are refused (``labeling.io.store.question``). Nor that the processor is free
for a commit: a question takes a part of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from threading import BoundedSemaphore, Condition, Event, Thread, get_native_id
from typing import IO, Any, Final

import duckdb
import polars as pl
import pyarrow as pa
from prometheus_client import CollectorRegistry, Counter

from labeling.errors import StoreError
from labeling.io.endpoint.answers import WRITERS, Writer, cut, distinct
from labeling.io.store import Store
from labeling.io.store.database import Database

#: Rows that DuckDB hands over at once.
_BATCH: Final = 50_000
_IN_MEMORY: Final = 8 << 20
#: How often memory is looked at.
_TICK_S: Final = 0.05
#: The lowest priority.
_NICE: Final = 19
_USED: Final = "SELECT sum(memory_usage_bytes) FROM duckdb_memory() WHERE tag <> 'BASE_TABLE'"


class BusyError(StoreError):
    """Too many questions at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What questions may use.

    Args:
        timeout_ms: of one question, its waiting for a place included.
        rows: of one answer, for those without the token.
        answer_bytes: of one answer, likewise.
        memory_bytes: of DuckDB for all of them, beside the store's own pages.
        together: how many are answered at once.
    """

    timeout_ms: int = 30_000
    rows: int = 1_000_000
    answer_bytes: int = 1 << 30
    memory_bytes: int = 1 << 30
    together: int = 2


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    ``rows`` None: the limit's; ``trusted``: asked with the token, so that neither rows nor bytes
    are limited; ``patient``: nor time, nor the number at once.
    """

    sql: str
    form: str = "json"
    rows: int | None = None
    params: tuple[Any, ...] = ()
    given: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    trusted: bool = False
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """``stream`` from its begin, its ``size`` and ``content_type``, and what is told beside it."""

    stream: IO[bytes]
    size: int
    content_type: str
    told: Mapping[str, Any]


class Queries:
    """Answers questions to one store, from many threads."""

    def __init__(
        self, store: Store, limits: Limits, registry: CollectorRegistry | None = None
    ) -> None:
        self.limits = limits
        self._asked = Counter(
            "labeling_questions",
            "Questions to the endpoint, by what became of them.",
            ["outcome"],
            registry=registry,
        )
        self._store = store
        self._places = BoundedSemaphore(limits.together)
        self._stopping = Event()
        self._running = 0
        self._ended = Condition()

    @contextmanager
    def answer(self, question: Question) -> Iterator[Answer]:
        """The answer, until the block ends.

        Raises:
            BusyError: no place became free in time.
            StoreError: refused, wrong, or stopped at a limit; the message says which.
        """
        with self._store.database.beside() as db:
            db.spill.mkdir(exist_ok=True)
            with SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(db.spill)) as stream:
                with self._counted(), self._place(question):
                    db.check(question.sql)
                    told = self._run(db, question, stream)
                size = stream.tell()
                stream.seek(0)
                yield Answer(stream, size, WRITERS[question.form][0], told)

    def stop(self, timeout_s: float) -> None:
        """Stop what runs and take no more; wait for it so long."""
        self._stopping.set()
        with self._ended:
            self._ended.wait_for(lambda: not self._running, timeout_s)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except BusyError:
            self._asked.labels("busy").inc()
            raise
        except StoreError:
            self._asked.labels("refused").inc()
            raise
        else:
            self._asked.labels("answered").inc()

    @contextmanager
    def _place(self, question: Question) -> Iterator[None]:
        if self._stopping.is_set():
            raise BusyError("the process is about to end")
        if not question.patient and not self._places.acquire(timeout=self.limits.timeout_ms / 1000):
            raise BusyError(f"{self.limits.together} questions are being answered; ask again later")
        with self._ended:
            self._running += 1
        try:
            yield
        finally:
            if not question.patient:
                self._places.release()
            with self._ended:
                self._running -= 1
                self._ended.notify_all()

    def _run(self, db: Database, question: Question, stream: IO[bytes]) -> dict[str, Any]:
        db.run("BEGIN TRANSACTION READ ONLY")
        watch = _Watch(db, self._stopping, None if question.patient else self.limits)
        try:
            for name, frame in question.given.items():
                db.session.register(name, frame.to_arrow())
            commit = db.value("SELECT max(commit) FROM commits")
            with watch:
                return {"commit": commit or 0, **self._write(db, question, stream)}
        except (duckdb.Error, OSError, StoreError) as error:
            raise StoreError(watch.reason or str(error)) from error
        finally:
            with suppress(duckdb.Error):
                db.run("ROLLBACK")

    def _write(self, db: Database, question: Question, stream: IO[bytes]) -> dict[str, Any]:
        relation = db.session.sql(question.sql, params=list(question.params))
        reader = relation.to_arrow_reader(_BATCH)
        schema = distinct(reader.schema)
        writer: Writer = WRITERS[question.form][1](stream, schema)
        count, truncated = 0, False
        for batch in cut(iter(reader), self._rows(question)):
            if batch is None:
                truncated = True
                break
            writer.write(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
            count += batch.num_rows
            if not question.trusted and stream.tell() > self.limits.answer_bytes:
                raise StoreError(
                    f"the answer is larger than {self.limits.answer_bytes:,} bytes; select fewer "
                    "columns or rows"
                )
        told: dict[str, Any] = {"row_count": count, "truncated": truncated}
        if truncated:
            told["message"] = self._cut_message(question, count)
        reader.close()
        writer.close(told)
        return told

    def _rows(self, question: Question) -> int | None:
        if question.trusted:
            return question.rows
        return min(question.rows or self.limits.rows, self.limits.rows)

    def _cut_message(self, question: Question, count: int) -> str:
        if question.rows is not None and question.rows == count:
            return f"cut after the {count:,} rows asked for"
        return (
            f"cut after {count:,} rows, the limit ([live] query_rows); ask with the token of the "
            "file beside the store for all of them, or page with LIMIT and OFFSET"
        )


def step_back() -> None:
    """Let every other thread have the processor first, where threads have priorities (Linux)."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, get_native_id(), _NICE)


class _Watch:
    """Stops a session's query at its limits while the block runs; ``reason`` says which."""

    def __init__(self, db: Database, stopping: Event, limits: Limits | None) -> None:
        self.reason = ""
        self._db = db
        self._limits = limits
        self._stopping = stopping
        self._done = Event()
        self._threads = [Thread(target=self._watch, daemon=True)]
        if limits is not None:
            self._threads.append(Thread(target=self._time, args=(limits,), daemon=True))

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()
        # After the threads were made: they inherit it, and must not wait behind what they stop.
        step_back()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _stop(self, reason: str) -> None:
        self.reason = self.reason or reason
        self._db.session.interrupt()

    def _time(self, limits: Limits) -> None:
        if not self._done.wait(limits.timeout_ms / 1000):
            self._stop(
                f"stopped after {limits.timeout_ms / 1000:g} s ([live] query_timeout); ask for "
                "less, or ask a copy: labeling snapshot"
            )

    def _watch(self) -> None:
        with self._db.beside() as other:
            while not self._done.wait(_TICK_S):
                if self._stopping.is_set():
                    self._stop("stopped: the process is about to end")
                elif self._limits and (other.value(_USED) or 0) > self._limits.memory_bytes:
                    self._stop(
                        f"stopped: questions use more than {self._limits.memory_bytes:,} bytes of "
                        "memory; ask for less, or ask a copy: labeling snapshot"
                    )
