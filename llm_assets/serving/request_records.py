"""Request records: every request and its answer as one JSON line, in one file per hour (UTC).

`RECORDS/2026-01-31T14.jsonl` holds what was answered in that hour. Writing happens in a thread of its own: a slow or
full disk costs records, which is counted and logged, never answers. Reading them is the business of monitoring.
"""

import json
import logging
import os
import queue
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llm_assets.serving.metrics import Metric

log = logging.getLogger(__name__)

Json = dict[str, Any]


class RecordWriter:
    """Appends records to hourly files; one writer per folder."""

    def __init__(self, folder: Path, maximum_waiting: int = 10_000) -> None:
        self.folder = folder
        self.written = Metric("llm_gateway_records_total", "counter", "Request records written.")
        self.lost = Metric("llm_gateway_records_lost_total", "counter", "Request records that could not be written.")
        self._queue: queue.Queue[Json | None] = queue.Queue(maximum_waiting)
        self._failing = False
        self._thread = threading.Thread(target=self._work, name="records", daemon=True)
        self._thread.start()

    def put(self, record: Json) -> None:
        """Take a record and stamp it with the time; returns at once."""
        stamped = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **record}
        try:
            self._queue.put_nowait(stamped)
        except queue.Full:
            self._count_lost("the queue of records is full")

    def close(self) -> None:
        """Write what waits, then end."""
        self._queue.put(None)
        self._thread.join(timeout=10)

    def _work(self) -> None:
        while (record := self._queue.get()) is not None:
            try:
                self._append(record)
            except (OSError, ValueError) as error:
                self._count_lost(str(error))
            else:
                self.written.add()
                if self._failing:
                    self._failing = False
                    log.warning("request records are written again")

    def _append(self, record: Json) -> None:
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace") + b"\n"
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{record['time'][:13]}.jsonl"
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":  # a process was killed while it wrote
                line = b"\n" + line
            written = os.write(file, line)
            if written < len(line):  # the disk is full: leave no half line behind
                os.ftruncate(file, size)
                raise OSError(f"only {written} of {len(line)} bytes of a record fit on the disk")
        finally:
            os.close(file)

    def _count_lost(self, reason: str) -> None:
        self.lost.add()
        if not self._failing:  # once per disturbance, else the log fills the rest of the disk
            self._failing = True
            log.error("request records are being lost: %s (folder %s)", reason, self.folder)
