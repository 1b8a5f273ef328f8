"""Assets of the data stage: what the registry holds, the evaluation sets, the dataset and what was left out of it."""

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from llm_assets.checks import gate_checks
from llm_assets.code_version import code_version
from llm_assets.data.checks import dataset_gates, evaluation_set_gates
from llm_assets.data.dataset import build_dataset, build_evaluation_sets, preview_quarantine
from llm_assets.data.functions import function_source
from llm_assets.data.harness_sets import harness_version
from llm_assets.data.sources import evaluation_source, training_source
from llm_assets.evaluation_spec import EvaluationSetSpec
from llm_assets.line import Line
from llm_assets.materialize import clear_failures, computed_once
from llm_assets.records.data import DatasetVersion, EvaluationSets, Quarantine, SourceVersion
from resources.registry import DataRegistry
from resources.settings import Settings
from resources.store import ArtifactStore

GROUP = "data"
CODE = tuple(
    f"llm_assets/data/{name}.py" for name in ("cleaning", "contract", "dataset", "evaluation_sets", "reading", "text")
)
EXAM_CODE = (
    *(f"llm_assets/data/{name}.py" for name in ("checkers", "functions", "harness_sets")),
    "llm_assets/harness.py",
)


def definitions_for(line: Line) -> dg.Definitions:
    """Assets and checks of one line's data stage."""
    # Observable source assets are beta in name only: Dagster would say so on every start of every process.
    warnings.filterwarnings("ignore", "Function `multi_observable_source_asset`", dg.BetaWarning)
    return dg.Definitions(
        assets=[_source_dataset(line), _evaluation_sets(line), _dataset(line)],
        asset_checks=[
            *gate_checks(line.name, "evaluation_sets", EvaluationSets, evaluation_set_gates()),
            *gate_checks(line.name, "dataset", DatasetVersion, dataset_gates(line)),
        ],
    )


def _source_dataset(line: Line) -> dg.AssetsDefinition:
    spec = dg.AssetSpec(
        [line.name, "source_dataset"],
        group_name=GROUP,
        owners=line.owners,
        kinds={"dvc", "git"},
        description=f"Training data in the registry {line.data.repo}, revision {line.data.rev}, as DVC recorded it.",
    )

    # the form for several assets, since the one for a single asset takes no owners
    @dg.multi_observable_source_asset(name=f"{line.name}__source_dataset", specs=[spec])
    def source_dataset(
        registry: dg.ResourceParam[DataRegistry], settings: dg.ResourceParam[Settings]
    ) -> dg.ObserveResult:
        with clear_failures():
            source = training_source(line, registry, settings)
        return dg.ObserveResult(
            data_version=dg.DataVersion(f"{source.commit[:12]}-{source.content_digest[:12]}"),
            metadata={
                "repo": source.repo,
                "revision": source.revision,
                "commit": source.commit,
                "content": source.content_digest,
                "objects": _table(("path", "hash"), source.objects),
            },
        )

    return source_dataset


def _evaluation_sets(line: Line) -> dg.AssetsDefinition:
    @dg.asset(
        key=[line.name, "evaluation_sets"],
        group_name=GROUP,
        owners=line.owners,
        kinds={"dvc", "jsonl"},
        description="Held-out records and prompts, versioned apart from the training data, each set complete.",
    )
    def evaluation_sets(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[ArtifactStore],
        registry: dg.ResourceParam[DataRegistry],
        settings: dg.ResourceParam[Settings],
    ) -> dg.MaterializeResult[EvaluationSets]:
        with clear_failures():
            source = evaluation_source(line, registry, settings)
            config = {name: _exam(spec, settings) for name, spec in line.evaluation.sets.items()}
        return computed_once(
            context,
            store,
            inputs={"source": source.content_digest},
            config=config,
            version=code_version(*CODE, *EXAM_CODE),
            record_type=EvaluationSets,
            compute=lambda: build_evaluation_sets(line, source, registry, settings, store),
            describe=lambda record: _describe_sets(record, source),
        )

    return evaluation_sets


def _exam(spec: EvaluationSetSpec, settings: Settings) -> dict[str, Any]:
    """What of a set's section decides what the set holds."""
    included = {"kind", "path", "limit", "function"}
    if spec.kind == "lm_eval":
        included |= {"task", "lm_metric", "num_fewshot", "chat_template"}
    source = function_source(spec.function, settings.resolve) if spec.function else b""
    return {
        **spec.model_dump(mode="json", include=included),
        "source": hashlib.sha256(source).hexdigest(),
        "library": harness_version() if spec.kind == "lm_eval" else "",
    }


def _dataset(line: Line) -> dg.AssetsDefinition:
    key, quarantine_key = dg.AssetKey([line.name, "dataset"]), dg.AssetKey([line.name, "quarantine"])
    shared: dict[str, Any] = {"group_name": GROUP, "owners": line.owners, "is_required": False}

    @dg.multi_asset(
        name=f"{line.name}__dataset",
        outs={
            "dataset": dg.AssetOut(
                key=key,
                dagster_type=DatasetVersion,
                kinds={"polars", "pandera", "jsonl"},
                description="Chat records that satisfy the contract, each once, split by answer.",
                **shared,
            ),
            "quarantine": dg.AssetOut(
                key=quarantine_key,
                dagster_type=Quarantine,
                kinds={"jsonl"},
                description="Every row that `dataset` left out, with file, line number, reason and raw text.",
                **shared,
            ),
        },
        ins={"evaluation_sets": dg.AssetIn(key=[line.name, "evaluation_sets"])},
        deps=[dg.AssetKey([line.name, "source_dataset"])],
        can_subset=True,
    )
    def dataset(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[ArtifactStore],
        registry: dg.ResourceParam[DataRegistry],
        settings: dg.ResourceParam[Settings],
        evaluation_sets: EvaluationSets,
    ) -> Iterator[dg.MaterializeResult[Any]]:
        with clear_failures():
            source = training_source(line, registry, settings, _observed_commit(context, line))
        exams = {f"evaluation_sets/{n}": s.rows.digest for n, s in evaluation_sets.sets.items() if s.kind == "chat"}
        made = computed_once(
            context,
            store,
            inputs={"source": source.content_digest, **exams},
            config=line.data.model_dump(
                mode="json", include={"train", "validation_fraction", "maximum_characters", "languages"}
            ),
            version=code_version(*CODE),
            record_type=DatasetVersion,
            compute=lambda: build_dataset(line.data, source, evaluation_sets, registry, settings, store),
            describe=lambda record: _describe_dataset(record, source, store),
            asset_key=key,
        )
        # the quarantine is yielded in any case, so that it can be read when a gate stops the run at the dataset
        if quarantine_key in context.selected_asset_keys:
            yield _quarantine(made, quarantine_key, store)
        if key in context.selected_asset_keys:
            yield made

    return dataset


def _observed_commit(context: dg.AssetExecutionContext, line: Line) -> str | None:
    """The commit that `source_dataset` observed in this run, so that a push in between can't mix two versions."""
    observed = dg.DagsterEventType.ASSET_OBSERVATION
    for entry in reversed(context.instance.all_logs(context.run_id, of_type=observed)):
        observation = entry.asset_observation
        if observation and observation.asset_key == dg.AssetKey([line.name, "source_dataset"]):
            return str(observation.metadata["commit"].value)
    return None


def _quarantine(
    made: dg.MaterializeResult[DatasetVersion], key: dg.AssetKey, store: ArtifactStore
) -> dg.MaterializeResult[Quarantine]:
    dataset = made.value
    reasons = dataset.rejected | ({"duplicate": dataset.duplicates} if dataset.duplicates else {})
    record = Quarantine(rows=dataset.quarantine, reasons=reasons)
    with clear_failures():
        path = store.path(record.rows) / "quarantine.jsonl"
    rows = [(f"{r['file']}:{r['line']}", r["reason"], f"`{_cell(r['raw'])}`") for r in preview_quarantine(path)]
    return dg.MaterializeResult(
        asset_key=key,
        value=record,
        data_version=dg.DataVersion(record.digest),
        metadata={
            "rows": sum(reasons.values()),
            "reasons": _table(("reason", "rows"), reasons),
            "preview": dg.MetadataValue.md(_markdown(("line", "reason", "raw text"), rows) if rows else "No row."),
            "path": dg.MetadataValue.path(path),
            "reused": (made.metadata or {})["reused"],
        },
    )


def _describe_dataset(record: DatasetVersion, source: SourceVersion, store: ArtifactStore) -> Mapping[str, Any]:
    rejected = {f"rejected: {reason}": rows for reason, rows in record.rejected.items()}
    kept = {"train": record.train, "validation": record.validation, "duplicates": record.duplicates}
    return {
        "counts": _table(("outcome", "rows"), {**kept, **rejected, "**read**": record.read}),
        "categories": _table(("category", "rows"), record.categories),
        "languages": _table(("language", "rows"), record.languages),
        "train": record.train,
        "validation": record.validation,
        "observed_commit": source.commit,
        "last_change": record.commit,
        "path": dg.MetadataValue.path(store.path(record.files)),
    }


def _describe_sets(record: EvaluationSets, source: SourceVersion) -> Mapping[str, Any]:
    rows = [(name, found.kind, found.size, found.rows.short) for name, found in record.sets.items()]
    return {
        "sets": dg.MetadataValue.md(_markdown(("set", "kind", "examples", "digest"), rows)),
        "examples": sum(found.size for found in record.sets.values()),
        "commit": source.commit,
    }


def _table(header: tuple[str, str], values: Mapping[str, Any]) -> dg.MetadataValue[Any]:
    return dg.MetadataValue.md(_markdown(header, list(values.items())))


def _markdown(header: tuple[str, ...], rows: list[Any]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'").replace("\n", " ").replace("\r", " ")
