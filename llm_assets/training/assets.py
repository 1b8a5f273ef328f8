"""base_model, prompt, checkpoint: from a dataset to a LoRA adapter."""

import base64
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from llm_assets.checks import gate_checks
from llm_assets.code_version import code_version
from llm_assets.line import Line
from llm_assets.materialize import clear_failures, computed_once, result_key
from llm_assets.records.data import DatasetVersion
from llm_assets.records.training import BaseModelVersion, Checkpoint, Prompt
from llm_assets.training.base_model import publish_base_model, source_digest
from llm_assets.training.checks import checkpoint_gates
from llm_assets.training.request import Trained, TrainingRequest
from resources.compute import Compute
from resources.errors import TrackingError
from resources.packaged import locate
from resources.settings import Settings
from resources.store import ArtifactStore
from resources.tracking import Tracking

BASE_CODE = code_version("llm_assets/training/base_model.py", "llm_assets/training/convert.py")
TRAINING_CODE = code_version(
    "llm_assets/language_model.py",
    "llm_assets/training/train.py",
    "llm_assets/training/batches.py",
    "llm_assets/training/request.py",
)


def definitions_for(line: Line) -> dg.Definitions:
    """Assets and checks of the training stage of one line."""
    return dg.Definitions(
        assets=[_base_model(line), _prompt(line), _checkpoint(line)],
        asset_checks=gate_checks(line.name, "checkpoint", Checkpoint, checkpoint_gates(line)),
    )


@contextmanager
def work_folder(settings: Settings) -> Iterator[Path]:
    """A folder that is gone afterwards, on the disk that has the state."""
    settings.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.home, prefix="work-") as folder:
        yield Path(folder)


def _base_model(line: Line) -> dg.AssetsDefinition:
    @dg.asset(
        key=[line.name, "base_model"],
        group_name="training",
        owners=line.owners,
        kinds={"huggingface"},
        code_version=BASE_CODE,
        description="The base model as safetensors with its tokenizer; a GGUF file is converted once.",
    )
    def base_model(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[ArtifactStore],
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
    ) -> dg.MaterializeResult[BaseModelVersion]:
        with clear_failures():
            source = locate(line.base_model, settings.resolve)
            digest = source_digest(source)

        def publish() -> BaseModelVersion:
            if source.is_dir():
                return publish_base_model(store, source, line.base_model)
            with work_folder(settings) as folder:
                request = {"gguf": str(source), "folder": str(folder)}
                compute.run(context, "llm_assets.training.convert", request, "converting the base model")
                return publish_base_model(store, folder, line.base_model)

        return computed_once(
            context,
            store,
            inputs={"source": digest},
            config={"source": line.base_model},
            version=BASE_CODE,
            compute=publish,
            record_type=BaseModelVersion,
            describe=lambda made: {
                "source": made.source,
                "parameters": made.parameters,
                "megabytes": round(made.files.size / 1e6, 1),
                "weights": made.weights,
                "path": dg.MetadataValue.path(str(store.path(made.files))),
            },
        )

    return base_model


def _prompt(line: Line) -> dg.AssetsDefinition:
    version = code_version("llm_assets/records/training.py")

    @dg.asset(
        key=[line.name, "prompt"],
        group_name="training",
        owners=line.owners,
        kinds={"yaml"},
        code_version=version,
        description="The system prompt, versioned like everything else a release is made of.",
    )
    def prompt(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[ArtifactStore]
    ) -> dg.MaterializeResult[Prompt]:
        return computed_once(
            context,
            store,
            inputs={},
            config=line.prompt,
            version="1",
            compute=lambda: Prompt(system=line.prompt.system),
            record_type=Prompt,
            describe=lambda made: {"system": made.system or "(none)"},
        )

    return prompt


def _checkpoint(line: Line) -> dg.AssetsDefinition:
    @dg.asset(
        key=[line.name, "checkpoint"],
        ins={name: dg.AssetIn(key=dg.AssetKey([line.name, name])) for name in ("dataset", "base_model", "prompt")},
        deps=[dg.AssetKey([line.name, "gate_calibration"])],  # nothing trains for gates that could not judge it
        group_name="training",
        owners=line.owners,
        kinds={"pytorch", "mlflow"},
        code_version=TRAINING_CODE,
        description="A LoRA adapter, trained on the answers only, with its loss curve and MLflow run.",
    )
    def checkpoint(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[ArtifactStore],
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        tracking: dg.ResourceParam[Tracking],
        dataset: DatasetVersion,
        base_model: BaseModelVersion,
        prompt: Prompt,
    ) -> dg.MaterializeResult[Checkpoint]:
        figures: dict[str, Any] = {}

        def train() -> Checkpoint:
            run_id = tracking.open_run(line.name)
            _describe_run(tracking, run_id, line, dataset, base_model, prompt)
            with work_folder(settings) as folder:
                request = TrainingRequest(
                    base=str(store.path(base_model.files)),
                    dataset=str(store.path(dataset.files)),
                    system=prompt.system,
                    training=line.training,
                    folder=str(folder),
                    tracking_uri=tracking.tracking_uri,
                    mlflow_run_id=run_id,
                )
                made = compute.run(context, "llm_assets.training.train", request.content(), "training")
                trained = Trained.model_validate(made)
                figures.update(seconds=round(trained.seconds, 1), tokens_per_second=trained.tokens / trained.seconds)
                adapter, curve = store.put_tree(folder / "adapter"), store.put_tree(folder / "curve")
                log_curve(tracking, run_id, folder / "curve", trained.tracked, context.log)
            return Checkpoint(
                adapter=adapter,
                curve=curve,
                base_model=base_model.digest,
                dataset=dataset.digest,
                prompt=prompt.digest,
                training=line.training.model_dump(mode="json"),
                steps=trained.steps,
                first_validation_loss=trained.first_validation_loss,
                final_train_loss=trained.final_train_loss,
                final_validation_loss=trained.final_validation_loss,
                mlflow_run_id=run_id,
            )

        return computed_once(
            context,
            store,
            inputs=_training_inputs(dataset, base_model, prompt),
            config=line.training,
            version=TRAINING_CODE,
            compute=train,
            record_type=Checkpoint,
            describe=lambda made: {**_describe(store, made), **figures},
        )

    return checkpoint


def trained_before(
    store: ArtifactStore, line: Line, dataset: DatasetVersion, base_model: BaseModelVersion, prompt: Prompt
) -> str:
    """Digest of the checkpoint that an equal training has published; empty if there was none."""
    key = result_key(
        dg.AssetKey([line.name, "checkpoint"]),
        _training_inputs(dataset, base_model, prompt),
        line.training,
        TRAINING_CODE,
    )
    return store.get_result(key) or ""


def _training_inputs(dataset: DatasetVersion, base_model: BaseModelVersion, prompt: Prompt) -> dict[str, str]:
    return {"dataset": dataset.digest, "base_model": base_model.digest, "prompt": prompt.digest}


def _describe_run(
    tracking: Tracking,
    run_id: str,
    line: Line,
    dataset: DatasetVersion,
    base_model: BaseModelVersion,
    prompt: Prompt,
) -> None:
    """What an MLflow run needs to be reproduced: settings, data, model, prompt and code."""
    tracking.log_params(run_id, {**line.training.model_dump(mode="json"), "train_rows": dataset.train})
    tags = {
        "line": line.name,
        "data_commit": dataset.commit,
        "dataset": dataset.digest,
        "base_model": base_model.digest,
        "base_model_source": base_model.source,
        "prompt": prompt.digest,
        "code_version": TRAINING_CODE,
    }
    tracking.set_tags(run_id, tags)


def log_curve(tracking: Tracking, run_id: str, folder: Path, tracked: bool, log: logging.Logger) -> None:
    """Give the MLflow run its curve as files, and as metrics where the child could not send them all.

    A tracker that fails now costs the run its curve, not the line its trained adapter.
    """
    try:
        if not tracked:
            curve = json.loads((folder / "curve.json").read_text())
            points = [(f"{name}_loss", loss, step) for name in ("train", "validation") for step, loss in curve[name]]
            tracking.log_metrics(run_id, points)
        tracking.log_artifacts(run_id, folder, "curve")
    except TrackingError as error:
        log.warning(f"{error} The checkpoint is whole; MLflow run {run_id} lacks its curve.")


def _describe(store: ArtifactStore, checkpoint: Checkpoint) -> dict[str, Any]:
    plot = base64.b64encode((store.path(checkpoint.curve) / "curve.png").read_bytes()).decode()
    return {
        "validation_loss_first": checkpoint.first_validation_loss,
        "validation_loss": checkpoint.final_validation_loss,
        "train_loss": checkpoint.final_train_loss,
        "steps": checkpoint.steps,
        "adapter": checkpoint.adapter.digest,
        "adapter_megabytes": round(checkpoint.adapter.size / 1e6, 2),
        "mlflow_run_id": checkpoint.mlflow_run_id,
        "loss_curve": dg.MetadataValue.md(f"![loss curve](data:image/png;base64,{plot})"),
    }
