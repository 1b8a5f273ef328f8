"""A candidate whose records belong together, made by hand, in a store, an event log and a signature of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg

from llm_assets.line import Line
from llm_assets.materialize import RECORD
from llm_assets.records.data import DatasetVersion, EvaluationSets
from llm_assets.records.record import Record
from llm_assets.records.release import Release, Verdict
from llm_assets.records.training import BaseModelVersion, Checkpoint
from llm_assets.release.verdict import Candidate, sign_verdict
from resources.signing import Signer
from resources.store import ArtifactStore
from tests.evaluation.small_report import evidence, make_calibration, make_line, make_report


def changed(line: Line, section: str, **keys: Any) -> Line:
    """The line with some keys of a section changed."""
    content = line.model_dump(mode="json")
    return Line.model_validate({**content, section: {**content[section], **keys}})


@dataclass
class Bench:
    """What the guard looks at."""

    store: ArtifactStore
    signer: Signer
    instance: dg.DagsterInstance
    line: Line

    @classmethod
    def in_folder(cls, folder: Path) -> "Bench":
        store = ArtifactStore(str(folder / "store"), folder / "cache")
        line = changed(make_line(), "data", minimum_rows=20)
        return cls(store, Signer(folder / "key"), dg.DagsterInstance.ephemeral(), line)

    @property
    def context(self) -> Any:
        return SimpleNamespace(instance=self.instance, run=None)

    def candidate(self, data: str, champion: str = "", line: Line | None = None) -> Candidate:
        """A candidate that passes every gate of the line."""
        line = line or self.line
        files = self.store.put_files({"a": data.encode(), "b": b""})
        rows = {"read": 100, "train": 90, "validation": 10, "duplicates": 0, "contaminated": 0, "rejected": {}}
        dataset = DatasetVersion.model_validate(
            {"objects": {"chat": data}, "commit": data, "files": files, "quarantine": files, **rows}
            | {"categories": {"a": 50, "b": 50}, "languages": {"english": 100}}
        )
        parts = {"weights": "w", "tokenizer": "t", "chat_template": "c", "parameters": 1}
        base = BaseModelVersion.model_validate({"source": "model", "files": files, **parts})
        losses = {"first_validation_loss": 3.0, "final_train_loss": 1.0, "final_validation_loss": 2.0}
        made_from = {"base_model": base.digest, "dataset": dataset.digest, "prompt": "prompt"}
        checkpoint = Checkpoint.model_validate(
            {"adapter": files, "curve": files, **made_from, "training": {}, "steps": 1, **losses, "mlflow_run_id": data}
        )
        sets = EvaluationSets(objects={}, sets={})
        exam = {"base_model": base.digest, "prompt": "prompt", "evaluation_sets": sets.digest, "judge": "judge"}
        calibration = make_calibration(line).model_copy(update={**exam, "champion": champion})
        found = [evidence(line, name, against) for name, against in (("beats_base", "base"), ("wins", "base"))]
        found += [evidence(line, "clean"), *([evidence(line, "keeps_up", "champion")] if champion else [])]
        about = {**exam, "dataset": dataset.digest, "checkpoint": checkpoint.digest, "calibration": calibration.digest}
        report = make_report(*found, champion=champion).model_copy(update=about)
        return Candidate(dataset, base, checkpoint, report, calibration, sets)

    def materialize(self, candidate: Candidate) -> None:
        """Its records are the newest of the line."""
        records: Mapping[str, Record] = {
            "dataset": candidate.dataset,
            "base_model": candidate.base_model,
            "gate_calibration": candidate.calibration,
            "checkpoint": candidate.checkpoint,
            "evaluation_report": candidate.report,
            "evaluation_sets": candidate.sets,
        }
        for name, record in records.items():
            key = dg.AssetKey([self.line.name, name])
            metadata = {RECORD: record.save(self.store)}
            self.instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=metadata))

    def judged(self, candidate: Candidate) -> Verdict:
        """The newest candidate's verdict."""
        self.materialize(candidate)
        verdict = sign_verdict(self.line, candidate, self.signer)
        assert verdict.passed, verdict.gates
        verdict.save(self.store)
        return verdict

    def released(self, candidate: Candidate, version: int) -> Release:
        """A release of the newest candidate."""
        release = Release(
            line=self.line.name,
            name=f"{self.line.name}-v{version}",
            version=version,
            adapter=candidate.checkpoint.adapter,
            checkpoint=candidate.checkpoint.digest,
            base_model=candidate.base_model.digest,
            base_files=candidate.base_model.files,
            prompt=candidate.checkpoint.prompt,
            dataset=candidate.dataset.digest,
            verdict=self.judged(candidate).digest,
            card=candidate.checkpoint.adapter,
        )
        release.save(self.store)
        return release


def altered(candidate: Candidate, holder: str, **keys: Any) -> Candidate:
    """The candidate with one record that says something else."""
    record: Record = getattr(candidate, holder)
    return replace(candidate, **{holder: record.model_copy(update=keys)})
