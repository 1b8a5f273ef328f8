"""Tasks of lm-evaluation-harness (Gao et al. 2024): their documents, and running them on a model that is loaded.

    python -m llm_assets.harness FOLDER     writes FOLDER/set.jsonl, a row per document of the task in FOLDER/task.json

A task comes from the YAML files in FOLDER/task, where data files are named relative to the YAML; without that folder
it is one of the library's own, and its data must be in the hub's cache. A task's YAML is code (Jinja templates,
functions): it is trusted like the line that names it. Only child processes import lm_eval, which takes seconds.
"""

import atexit
import contextlib
import copy
import functools
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from resources.errors import DataError, EvaluationError, PlatformError

FAILED = 3
"""Exit status of an error that was written to stderr as one sentence."""


class HarnessTask(BaseModel):
    """What task.json says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    metric: str
    num_fewshot: int | None
    chat_template: bool
    version: str
    """Of lm-eval-harness, whose code is a part of the task."""


def read_task(folder: Path) -> HarnessTask:
    """The content of task.json."""
    return HarnessTask.model_validate_json((folder / "task.json").read_bytes())


def load_task(folder: Path) -> Any:
    """The library's task object, data loaded.

    Raises:
        DataError: there is no such task, it is a group of tasks, or its data would have to be downloaded.
    """
    spec = read_task(folder)
    own = folder / "task"
    from lm_eval.tasks import TaskManager

    if own.is_dir():
        _keep_no_data_sets()
    try:
        with _inside(own if own.is_dir() else folder):
            manager = TaskManager(include_path=str(own) if own.is_dir() else None, include_defaults=not own.is_dir())
            if spec.task not in manager.all_subtasks:
                raise DataError(_unknown(spec.task, own.is_dir(), manager))
            task = manager.load([spec.task])["tasks"][spec.task]
    except PlatformError:
        raise
    except Exception as error:  # a task is foreign code, and what it raises for missing data varies
        raise DataError(
            f"lm_eval task {spec.task}: its data can't be loaded offline ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}); put a folder with {spec.task}.yaml and its data files into the "
            "registry (dataset_path: json, dataset_kwargs: {data_files: ...}) and name it as the set's `path`."
        ) from error
    if spec.num_fewshot is not None and task.get_config("num_fewshot") != 0:
        task.set_config(key="num_fewshot", value=spec.num_fewshot)
    elif task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=1234)  # the library's default
    _check_metric(spec, task)
    return task


def documents(folder: Path) -> list[dict[str, Any]]:
    """The task's documents as rows of an evaluation set; `document` is the library's number for it."""
    spec, task = read_task(folder), load_task(folder)
    return [
        {
            "id": f"{spec.task}-{number:06d}",
            "prompt": _text(task.doc_to_text(document)),
            "reference": _reference(task, document),
            "category": spec.task,
            "document": number,
        }
        for number, document in enumerate(task.eval_docs)
    ]


def run_task(
    folder: Path, numbers: Sequence[int], model: Any, tokenizer: Any, system: str, batch_size: int
) -> list[tuple[str, dict[str, float | None]]]:
    """Ask a loaded model the documents with these numbers: what it said, and every metric of each document.

    Returns:
        For each number the answer as text, and `METRIC,FILTER` -> score; None for one that is no number, as of a metric
        that is only made from all documents together.
    """
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    spec, task = read_task(folder), load_task(folder)
    # The library pads on the side it needs and would leave a changed tokenizer behind: it gets one of its own.
    lm = HFLM(pretrained=_plain(model), tokenizer=copy.deepcopy(tokenizer), batch_size=batch_size, backend="causal")
    asked = sorted(numbers)  # given in another order, the library would number the results wrongly
    with _inside(folder):
        found = evaluate(
            lm=lm,
            task_dict={"tasks": {spec.task: task}, "groups": {}, "group_map": {}},
            samples={spec.task: asked},
            bootstrap_iters=0,
            apply_chat_template=spec.chat_template,
            system_instruction=system or None if spec.chat_template else None,
            fewshot_as_multiturn=spec.chat_template,
        )
    return _by_number(spec.task, found["samples"][spec.task], numbers)


@functools.cache
def _keep_no_data_sets() -> None:
    """Compile data sets into a folder that ends with this process: a file's name must not bring back older content."""
    import datasets

    folder = tempfile.TemporaryDirectory(prefix="lm-eval-")
    atexit.register(folder.cleanup)
    datasets.config.HF_DATASETS_CACHE = Path(folder.name)


def _by_number(
    name: str, samples: Sequence[dict[str, Any]], asked: Sequence[int]
) -> list[tuple[str, dict[str, float | None]]]:
    texts: dict[int, str] = {}
    scores: dict[int, dict[str, float | None]] = {number: {} for number in asked}
    for sample in samples:
        number = sample["doc_id"]
        texts.setdefault(number, _text(sample["filtered_resps"]))
        for metric in sample["metrics"]:
            scores[number][f"{metric},{sample['filter']}"] = _number(sample[metric])
    missing = [number for number in asked if number not in texts]
    if missing:
        raise EvaluationError(f"lm_eval task {name} gave no result for document {missing[0]}; run this again.")
    return [(texts[number], scores[number]) for number in asked]


def _check_metric(spec: HarnessTask, task: Any) -> None:
    directions = task.higher_is_better()
    metric = spec.metric.split(",")[0]
    if metric not in directions:
        raise DataError(
            f"lm_eval task {spec.task} has no metric {metric!r}; set `lm_metric` to one of {', '.join(directions)}."
        )
    if directions[metric] is False:
        raise DataError(f"lm_eval task {spec.task}: lower {metric} is better; set `lm_metric` to one that is a score.")


def _unknown(name: str, own: bool, manager: Any) -> str:
    if own:
        return f"the set's folder has no lm_eval task {name!r}, it has {', '.join(manager.all_subtasks) or 'none'}."
    if name in manager.all_tasks:
        return f"lm_eval's {name!r} is a group of tasks; name one task of it in each set."
    return f"lm_eval has no task {name!r}; give the folder of its YAML in the registry as the set's `path`."


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Data files are named relative to the YAML; what the library prints would drown the run's log."""
    with contextlib.chdir(folder), contextlib.redirect_stdout(sys.stderr):
        yield


def _plain(model: Any) -> Any:
    """The transformers model: with the adapter's layers inside, as they are switched now."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _reference(task: Any, document: Any) -> str:
    """What the right answer is, for people; of a choice its text."""
    target = task.doc_to_target(document)
    choices = task.doc_to_choice(document) if task.config.doc_to_choice is not None else None
    return _text(choices[target] if choices and isinstance(target, int) and 0 <= target < len(choices) else target)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def main(folder: Path) -> int:
    """Write set.jsonl; exit status 3 and one sentence on an error."""
    try:
        rows = documents(folder)
    except PlatformError as error:
        print(error, file=sys.stderr)
        return FAILED
    with (folder / "set.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
