"""Heavy work in a child process, through Dagster Pipes.

The run's own process stays light: torch and its kin are loaded by the child, and their memory goes back when it
ends. The child's log lines appear in the run as they are written; its progress bars go to the run's stderr. How the
child's side looks is in `llm_assets/child.py`.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections import deque
from pathlib import Path
from typing import Any

import dagster as dg

import resources.errors
from resources.errors import PlatformError
from resources.settings import PATIENT_THREADS, ROOT

Json = dict[str, Any]


class Compute:
    """Runs one of this project's modules as a child process on this machine."""

    def __init__(self, environ: dict[str, str] | None = None) -> None:
        self.environ = environ or {}
        # Dagster's own reader asks its own preview property, and would say so in front of every child's log.
        warnings.filterwarnings("ignore", "Function `PipesMessageReader.expected_writer_count`", dg.PreviewWarning)

    def run(self, context: dg.AssetExecutionContext, module: str, request: Json, title: str) -> Json:
        """Run `python -m module`, hand it `request`, and return what it reports.

        Args:
            title: what the child does, for messages ("training").

        Raises:
            PlatformError: the error that the child raised, or that it ended without a result.
        """
        with (
            tempfile.TemporaryDirectory() as folder,
            dg.open_pipes_session(
                context,
                dg.PipesTempFileContextInjector(),
                dg.PipesTempFileMessageReader(),
                extras={"request": request, "answer": str(Path(folder) / "answer.json")},
            ) as session,
        ):
            child = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env={
                    **PATIENT_THREADS,
                    **os.environ,
                    **self.environ,
                    "PYTHONPATH": str(ROOT),
                    **session.get_bootstrap_env_vars(),
                },
                stderr=subprocess.PIPE,
            )
            tail: deque[str] = deque(maxlen=12)
            pump = threading.Thread(target=_copy_stderr, args=(child, tail), daemon=True)
            pump.start()
            try:
                code = child.wait()
            finally:  # the run was cancelled or is being torn down
                if child.poll() is None:
                    child.terminate()
                    child.wait(timeout=20)
            pump.join()
            answer = Path(folder) / "answer.json"
            said = json.loads(answer.read_text(encoding="utf-8")) if answer.exists() else {}
        return _outcome(said, code, title, "\n".join(tail))


def _copy_stderr(child: "subprocess.Popen[bytes]", tail: "deque[str]") -> None:
    assert child.stderr is not None
    while chunk := child.stderr.read1(4096):  # type: ignore[attr-defined]
        text = chunk.decode("utf-8", "replace")
        sys.stderr.write(text)
        sys.stderr.flush()
        tail.extend(line for line in text.replace("\r", "\n").split("\n") if line.strip())


def _outcome(said: Json, code: int, title: str, tail: str) -> Json:
    if "error" in said:
        error_type = getattr(resources.errors, said["error"]["type"], PlatformError)
        raise error_type(said["error"]["message"])
    if "result" in said and code == 0:
        result: Json = said["result"]
        return result
    ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
    hint = " (is there enough memory?)" if code == -signal.SIGKILL else ""
    raise PlatformError(f"{title} {ended}{hint} before it had a result; nothing was published. Its last words:\n{tail}")
