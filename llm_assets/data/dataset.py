"""Makes the records of the data stage: pulls from the registry, reads, decides, publishes files to the store."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm_assets.data.evaluation_sets import dump_examples, read_examples
from llm_assets.data.functions import function_source
from llm_assets.data.harness_sets import read_harness_set
from llm_assets.data.sources import location
from llm_assets.evaluation_spec import EvaluationSetSpec
from llm_assets.line import DataSpec, Line
from llm_assets.records.data import DatasetVersion, EvaluationSet, EvaluationSets, SourceVersion
from resources.errors import DataError
from resources.registry import DataRegistry
from resources.settings import Settings
from resources.store import ArtifactStore


def build_evaluation_sets(
    line: Line, source: SourceVersion, registry: DataRegistry, settings: Settings, store: ArtifactStore
) -> EvaluationSets:
    """Pull and validate every evaluation set of a line.

    Raises:
        DataError: a set is missing or broken; names file and line.
    """
    repo = location(line.evaluation.repo or line.data.repo, settings)
    sets = {}
    with _workspace(registry) as folder:
        for name, spec in sorted(line.evaluation.sets.items()):
            if spec.path:
                registry.pull(repo, source.commit, spec.path, folder / name / "pulled")
            sets[name] = _evaluation_set(spec, folder / name, settings, store)
    return EvaluationSets(objects=source.objects, sets=sets)


def _evaluation_set(spec: EvaluationSetSpec, folder: Path, settings: Settings, store: ArtifactStore) -> EvaluationSet:
    """One set, whose files lie in `folder` below `pulled/`."""
    function = None
    if spec.function:
        function = store.put_files({"function.py": function_source(spec.function, settings.resolve)})
    if spec.kind == "lm_eval":
        examples = read_harness_set(spec, folder / "pulled" if spec.path else None, folder / "set")
        rows = store.put_tree(folder / "set")
    else:
        pulled = folder / "pulled"
        found = sorted(path for path in pulled.rglob("*.jsonl") if path.is_file())
        files = {path.relative_to(pulled).as_posix(): path for path in found} or _refuse([spec.path])
        examples = read_examples(files, spec.kind, spec.limit, spec.function)
        rows = store.put_files({"set.jsonl": dump_examples(examples)})
    return EvaluationSet(kind=spec.kind, rows=rows, size=len(examples), function=function)


def build_dataset(
    spec: DataSpec,
    source: SourceVersion,
    exams: EvaluationSets,
    registry: DataRegistry,
    settings: Settings,
    store: ArtifactStore,
) -> DatasetVersion:
    """Pull, validate, clean and split the training data.

    Raises:
        DataError: an object is missing or empty, or the machine's disk is full.
    """
    from llm_assets.data.cleaning import read_rows, write_dataset, write_quarantine

    repo = location(spec.repo, settings)
    with _workspace(registry) as folder:
        rows = read_rows(
            _pull(registry, repo, source.commit, spec.train, folder / "pulled"),
            maximum_characters=spec.maximum_characters,
            languages=spec.languages,
            validation_fraction=spec.validation_fraction,
            exam_answers=exam_answers(exams, store),
        )
        write_dataset(rows, folder / "dataset")
        write_quarantine(rows, folder / "quarantine.jsonl")
        counts = rows.counts()
        train, validation, duplicates = (counts.pop(outcome, 0) for outcome in ("train", "validation", "duplicate"))
        return DatasetVersion(
            objects=source.objects,
            commit=registry.last_change(repo, source.commit, spec.train),
            files=store.put_tree(folder / "dataset"),
            quarantine=store.put_files({"quarantine.jsonl": folder / "quarantine.jsonl"}),
            read=rows.rows.height,
            train=train,
            validation=validation,
            duplicates=duplicates,
            rejected=counts,
            categories=rows.kept("category"),
            languages=rows.kept("language"),
            contaminated=rows.contaminated,
        )


def exam_answers(exams: EvaluationSets, store: ArtifactStore) -> frozenset[bytes]:
    """Text keys of the answers of all chat evaluation sets."""
    from llm_assets.data.text import text_key

    keys = set()
    for exam in exams.sets.values():
        if exam.kind == "chat":
            with (store.path(exam.rows) / "set.jsonl").open(encoding="utf-8") as file:
                keys |= {text_key(json.loads(line)["messages"][-1]["content"]) for line in file}
    return frozenset(keys)


def preview_quarantine(path: Path, rows: int = 10, characters: int = 120) -> list[dict[str, Any]]:
    """Some quarantined rows, those of the rarest reasons first, with their raw text cut."""
    found: dict[str, list[dict[str, Any]]] = {}
    counts: dict[str, int] = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            counts[row["reason"]] = counts.get(row["reason"], 0) + 1
            some = found.setdefault(row["reason"], [])
            if len(some) < rows:
                some.append({**row, "raw": row["raw"][:characters]})
    return [row for reason in sorted(found, key=counts.__getitem__) for row in found[reason]][:rows]


def _pull(registry: DataRegistry, repo: str, commit: str, paths: list[str], target: Path) -> Mapping[str, Path]:
    files = [file for path in paths for file in registry.pull(repo, commit, path, target)]
    return {file.relative_to(target).as_posix(): file for file in files if file.suffix == ".jsonl"} or _refuse(paths)


def _refuse(paths: list[str]) -> Mapping[str, Path]:
    raise DataError(f"no file at {', '.join(paths)} ends in .jsonl; records are read from JSONL files, one a line.")


@contextmanager
def _workspace(registry: DataRegistry) -> Iterator[Path]:
    """A temporary folder beside the registry's cache, which is on a disk meant for data."""
    try:
        registry.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="reading-", dir=registry.cache) as folder:
            yield Path(folder)
    except OSError as error:
        raise DataError(f"data can't be written below {registry.cache} ({error}); free some disk space.") from error
