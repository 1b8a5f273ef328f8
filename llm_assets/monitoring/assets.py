"""request_window and drift_report: one hour of requests, and how far it is from the training data."""

import base64
import hashlib
import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from llm_assets.code_version import code_version
from llm_assets.evaluation.judge_digest import embedder_digest
from llm_assets.line import Line
from llm_assets.materialize import clear_failures, computed_once
from llm_assets.monitoring.checks import drift_check
from llm_assets.monitoring.request import Comparison, DriftRequest
from llm_assets.monitoring.window import build_window, hour_file, prompts_of, read_hour
from llm_assets.records.data import DatasetVersion
from llm_assets.records.monitoring import DriftReport, RequestWindow
from resources.compute import Compute
from resources.packaged import locate
from resources.settings import Settings
from resources.store import ArtifactStore, digest_of

HOURS = dg.HourlyPartitionsDefinition("2025-01-01-00:00", timezone="UTC", end_offset=1)
"""From a start that never moves, so that a partition keeps its name; the hour that still runs can be looked at, too."""
FOLDER = "llm_assets/monitoring"
WINDOW_CODE = code_version(f"{FOLDER}/window.py")
REFERENCE_CODE = code_version(f"{FOLDER}/reference.py", f"{FOLDER}/window.py", "llm_assets/evaluation/judge.py")
DRIFT_CODE = code_version(FOLDER, "llm_assets/plots.py", "llm_assets/evaluation/judge.py")


def definitions_for(line: Line) -> dg.Definitions:
    """Assets and the check of one line's monitoring."""
    # A check per hour needs what Dagster calls a preview, and says so on every start of every process.
    warnings.filterwarnings("ignore", "Specifying a partitions_def on an AssetCheckSpec", dg.PreviewWarning)
    return dg.Definitions(assets=[_request_window(line), _drift_report(line)], asset_checks=[drift_check(line, HOURS)])


def _request_window(line: Line) -> dg.AssetsDefinition:
    @dg.asset(
        key=[line.name, "request_window"],
        partitions_def=HOURS,
        group_name="monitoring",
        owners=line.owners,
        kinds={"jsonl"},
        code_version=WINDOW_CODE,
        description="The requests of one hour (UTC), as the gateway recorded them, without the platform's own.",
    )
    def request_window(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[ArtifactStore], settings: dg.ResourceParam[Settings]
    ) -> dg.MaterializeResult[RequestWindow]:
        hour = context.partition_time_window.start
        path = hour_file(settings.serving_dir, line.name, hour)
        with clear_failures():
            content = read_hour(path)
        return computed_once(
            context,
            store,
            inputs={"file": hashlib.sha256(content).hexdigest()},
            config={"hour": hour.isoformat()},
            version=WINDOW_CODE,
            record_type=RequestWindow,
            compute=lambda: build_window(content, hour, store),
            describe=lambda window: {
                "requests": window.n,
                "failed": window.failed,
                "malformed": window.malformed,
                "releases": window.releases,
                "source": dg.MetadataValue.path(path),
                "path": dg.MetadataValue.path(store.path(window.rows)),
            },
        )

    return request_window


def _drift_report(line: Line) -> dg.AssetsDefinition:
    @dg.asset(
        key=[line.name, "drift_report"],
        partitions_def=HOURS,
        ins={name: dg.AssetIn(key=dg.AssetKey([line.name, name])) for name in ("request_window", "dataset")},
        group_name="monitoring",
        owners=line.owners,
        kinds={"numpy", "pytorch"},
        code_version=DRIFT_CODE,
        description="Length, nearest category and embedding of an hour's prompts against the newest training data.",
    )
    def drift_report(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[ArtifactStore],
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        request_window: RequestWindow,
        dataset: DatasetVersion,
    ) -> dg.MaterializeResult[DriftReport]:
        with clear_failures():
            embedder = locate(line.evaluation.judge.embedder, settings.resolve)
            embedder_name = embedder_digest(embedder)
        reference = {"training": dataset.files.digest, "embedder": embedder_name, "code": REFERENCE_CODE}

        def report() -> DriftReport:
            request = DriftRequest(
                store_url=store.url,
                store_cache=str(store.cache),
                line=line.name,
                hour=request_window.hour,
                window=request_window.rows,
                dataset=dataset.files,
                dataset_name=dataset.short,
                embedder=str(embedder),
                reference_key=digest_of({"drift_reference": reference}),
                monitoring=line.monitoring,
            )
            return _report(context, compute, request, request_window, dataset)

        return computed_once(
            context,
            store,
            inputs={"request_window": request_window.digest, "dataset": dataset.digest, "embedder": embedder_name},
            config=line.monitoring.model_dump(mode="json", exclude={"cool_down_hours"}),
            version=DRIFT_CODE,
            record_type=DriftReport,
            compute=report,
            describe=lambda made: _describe(store, settings, made),
        )

    return drift_report


def _report(
    context: dg.AssetExecutionContext,
    compute: Compute,
    request: DriftRequest,
    window: RequestWindow,
    dataset: DatasetVersion,
) -> DriftReport:
    """Compare in a child process; with too few requests there is nothing to compare, and nothing is loaded."""
    store, minimum = request.store, request.monitoring.minimum_requests
    n = len(prompts_of(window, store))
    if n < minimum:
        from llm_assets.monitoring.page import render

        page = store.put_files({"drift.html": render(request, n, []).encode()})
        made = Comparison(features=[], n=n, page=page, embedded=0)
    else:
        answer = compute.run(context, "llm_assets.monitoring.compare", request.content(), "the drift report")
        made = Comparison.model_validate(answer)
    return DriftReport(
        window=window.digest, dataset=dataset.digest, n=made.n, minimum=minimum, features=made.features, page=made.page
    )


def _describe(store: ArtifactStore, settings: Settings, report: DriftReport) -> Mapping[str, Any]:
    folder = store.path(report.page)
    page = folder / "drift.html"
    rows = [f"| {one.feature} | {one.psi:.3f} | {one.bound:.3f} | {_state(one.drifted)} |" for one in report.features]
    table = "\n".join(["| feature | PSI | bound | |", "|---|---|---|---|", *rows])
    plot = folder / "drift.png"
    preview = base64.b64encode(plot.read_bytes()).decode() if plot.exists() else ""
    return {
        "requests": report.n,
        "features": dg.MetadataValue.md(table if rows else f"Too few requests: {report.n} of {report.minimum}."),
        **({"plot": dg.MetadataValue.md(f"![distributions](data:image/png;base64,{preview})")} if preview else {}),
        "report": dg.MetadataValue.url(settings.report_url(report.page.digest, page.name)),
        "report_path": dg.MetadataValue.path(page),
    }


def _state(drifted: bool) -> str:
    return "**drifted**" if drifted else "within"
