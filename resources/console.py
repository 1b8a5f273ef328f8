"""What a run says on a terminal: one line per step and result, a failure as its message, no event dump."""

import logging
import os
import sys
from typing import Any, TextIO

import dagster as dg

QUIET, STRONG, BAD, END = "\033[2m", "\033[1m", "\033[31m", "\033[0m"


class _Lines(logging.Formatter):
    """One readable line per record; an error's traceback stays in the run's page."""

    def __init__(self, colours: bool) -> None:
        super().__init__()
        self.colours = colours

    def format(self, record: logging.LogRecord) -> str:
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        text = _event_text(event) if event is not None else f"{meta.get('orig_message') or record.getMessage()}"
        what = _asset(event) or str(meta.get("step_key") or "").replace("__", "/")
        clock = self.formatTime(record, "%H:%M:%S")
        line = f"{clock} {what}: {text}" if what else f"{clock} {text}"
        if not self.colours:
            return line
        return f"{BAD if record.levelno >= logging.ERROR or _stops(event) else QUIET}{line}{END}"


def _asset(event: Any) -> str:
    """The asset that an event is about: a step may make several."""
    kind = event.event_type_value if event is not None else ""
    if kind == "ASSET_MATERIALIZATION":
        return str(event.event_specific_data.materialization.asset_key.to_user_string())
    if kind == "ASSET_CHECK_EVALUATION":
        return str(event.event_specific_data.asset_key.to_user_string())
    return ""


def _stops(event: Any) -> bool:
    """Whether an event is a gate's refusal."""
    if event is None or event.event_type_value != "ASSET_CHECK_EVALUATION":
        return False
    evaluation = event.event_specific_data
    return bool(not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR)


def _event_text(event: Any) -> str:
    data = event.event_specific_data
    error = getattr(data, "error", None) or getattr(data, "error_info", None)
    if event.event_type_value == "STEP_FAILURE":
        failure = getattr(data, "user_failure_data", None)
        return f"FAILED. {failure.description if failure else _innermost(error)}"
    if event.event_type_value == "ASSET_MATERIALIZATION":
        metadata = data.materialization.metadata
        how = "reused" if "reused" in metadata and metadata["reused"].value else "made"
        record = f" {metadata['record'].value[:12]}" if "record" in metadata else ""
        return f"{how}{record}"
    if event.event_type_value == "ASSET_CHECK_EVALUATION":
        return f"gate {data.check_name}: {data.description or ('PASS' if data.passed else 'FAIL')}"
    return str(event.message) if error is None else f"{event.message} {_innermost(error)}"


def _innermost(error: Any) -> str:
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error else ""


def _is_said_already(event: Any) -> bool:
    """Whether a step failed only because of a blocking gate, or a run because of a step: the reason is a line above."""
    data = event.event_specific_data
    if event.event_type_value == "PIPELINE_FAILURE":
        return data is not None and data.first_step_failure_event is not None
    error = getattr(data, "error", None)
    return bool(event.event_type_value == "STEP_FAILURE" and error and error.cls_name == "DagsterAssetCheckFailedError")


class _Relevant(logging.Filter):
    """Of Dagster's own events: results, gates and failures. Of everything else: INFO and above."""

    # PIPELINE_FAILURE is what Dagster still calls the failure of a run.
    SHOWN = frozenset({"ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION", "STEP_FAILURE", "PIPELINE_FAILURE"})
    PLUMBING = ("[pipes] ", "Dependencies for step ")

    def filter(self, record: logging.LogRecord) -> bool:
        meta = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        if event is not None:
            return event.event_type_value in self.SHOWN and not _is_said_already(event)
        text = str(meta.get("orig_message") or record.getMessage())
        return record.levelno >= logging.INFO and not text.startswith(self.PLUMBING)


@dg.logger({}, description="One readable line per step, gate and failure.")
def console_logger(_: dg.InitLoggerContext) -> logging.Logger:
    """The console of runs on a terminal and in a run worker's log."""
    logger = logging.Logger("console", level=logging.DEBUG)
    handler = logging.StreamHandler(_terminal())
    handler.setFormatter(_Lines(colours=sys.stderr.isatty()))
    handler.addFilter(_Relevant())
    logger.addHandler(handler)
    return logger


def _terminal() -> TextIO:
    """Standard error as it is before the steps begin.

    While steps run, Dagster sends descriptor 2 to a file and mirrors it with a `tail` that it ends at once, so that a
    last line, the reason of a failure, may never be seen. A copy of the descriptor is not redirected.
    """
    try:
        return os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8", errors="replace")
    except (OSError, AttributeError):  # there is none, or one without a descriptor
        return sys.stderr
