"""Evaluation sets of kind lm_eval: the task's files from the registry, and its documents as the library sees them.

The library is asked in a process of its own, before anything trains: a task that can't be loaded stops the run here.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llm_assets.data.evaluation_sets import dump_examples
from llm_assets.evaluation_spec import EvaluationSetSpec
from llm_assets.harness import FAILED, HarnessTask
from resources.errors import DataError
from resources.settings import ROOT, TELEMETRY_OFF
from resources.store import digest_of, file_digest

SECONDS = 600


def read_harness_set(spec: EvaluationSetSpec, pulled: Path | None, folder: Path) -> list[dict[str, Any]]:
    """Fill `folder` with task.json, set.jsonl and, if it has a path in the registry, task/; returns the documents.

    Args:
        pulled: folder that the registry's files were pulled to, which holds the task's YAML and data.

    Raises:
        DataError: lm-eval is not installed, there is no such task, its data are missing, or it has no document.
    """
    if pulled is not None:
        source = pulled / spec.path
        if not source.is_dir():
            raise DataError(f"{spec.path} is a file; a set of kind lm_eval is a folder with {spec.task}.yaml and data.")
        shutil.copytree(source, folder / "task")
    folder.mkdir(parents=True, exist_ok=True)
    task = HarnessTask(
        task=spec.task,
        metric=spec.lm_metric,
        num_fewshot=spec.num_fewshot,
        chat_template=spec.chat_template,
        version=harness_version(),
    )
    (folder / "task.json").write_text(task.model_dump_json())
    _ask_library(spec.task, folder)
    made_of = _digest(task, folder / "task")
    lines = (folder / "set.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [{**json.loads(line), "task": made_of} for line in lines]
    if not rows:
        raise DataError(f"lm_eval task {spec.task} has no document; put data for its test split beside its YAML.")
    chosen = sorted(rows, key=lambda row: hashlib.sha256(row["id"].encode()).digest())[: spec.limit]
    examples = sorted(chosen, key=lambda row: str(row["id"]))
    (folder / "set.jsonl").write_bytes(dump_examples(examples))
    return examples


def _digest(task: HarnessTask, folder: Path) -> str:
    """Of everything that decides what a document's number stands for, and so what a model is asked."""
    files = {path.relative_to(folder).as_posix(): file_digest(path) for path in folder.rglob("*") if path.is_file()}
    return digest_of({"task": task.model_dump(mode="json", exclude={"metric"}), "files": files})


def harness_version() -> str:
    """Of lm-eval-harness, without loading it.

    Raises:
        DataError: it is not installed.
    """
    try:
        return version("lm-eval")
    except PackageNotFoundError as error:
        raise DataError("a set of kind lm_eval needs the package lm-eval; install llm-assets[lm-eval].") from error


def _ask_library(task: str, folder: Path) -> None:
    environ = {**TELEMETRY_OFF, **os.environ}
    command = [sys.executable, "-m", "llm_assets.harness", str(folder)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"lm_eval task {task} was not read within {SECONDS} s; give it less data.") from error
    if done.returncode == FAILED:
        raise DataError(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        raise DataError(f"lm_eval task {task} can't be read: {' '.join(done.stderr.split())[-400:]}")
