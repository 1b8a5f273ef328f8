"""One evaluation of a really trained tiny adapter, without assets around it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from llm_assets.evaluation.evaluate import evaluate
from llm_assets.evaluation.outputs import Subject
from llm_assets.evaluation.request import Evaluation, EvaluationRequest
from llm_assets.line import Line
from llm_assets.records.data import EvaluationSet, EvaluationSets
from llm_assets.records.evaluation import Identity
from resources.packaged import locate
from resources.store import Artifact
from tests.evaluation.small_report import make_calibration
from tests.training.small_training import jsonl, trained_once

Json = dict[str, Any]


class SmallExam:
    """Base and adapter of one training, examined on any sets by any gates."""

    def __init__(self, model: Path) -> None:
        self.trained = trained_once(model)
        self.store = self.trained.bench.store
        self.said: list[str] = []

    def line(self, sets: Mapping[str, Json], gates: Mapping[str, Json]) -> Line:
        content = self.trained.bench.line().model_dump(mode="json")
        specs = {name: {"path": f"{name}.jsonl", **spec} for name, spec in sets.items()}
        return Line.model_validate({**content, "evaluation": {"sets": specs}, "gates": gates})

    def run(
        self, line: Line, rows: Mapping[str, Sequence[Json]], candidate: Artifact, champion: Artifact | None = None
    ) -> Evaluation:
        adapters = {"base": None, "candidate": candidate} | ({"champion": champion} if champion else {})
        base = self.trained.base_model.files
        sets = {
            name: EvaluationSet(
                kind=line.evaluation.sets[name].kind,
                rows=self.store.put_files({"set.jsonl": jsonl(list(examples))}),
                size=len(examples),
            )
            for name, examples in rows.items()
        }
        identity = dict.fromkeys(Identity.model_fields, "0" * 64) | {"champion": "release" if champion else ""}
        request = EvaluationRequest(
            store_url=self.store.url,
            store_cache=str(self.store.cache),
            line=line,
            subjects={name: Subject(base=base, adapter=adapter, system="") for name, adapter in adapters.items()},
            sets=EvaluationSets(objects={}, sets=sets),
            embedder=str(locate(line.evaluation.judge.embedder, Path)),
            judge="the embedding judge",
            curve=self.trained.checkpoint.curve,
            champion_name="the champion",
            identity=Identity(**identity),
            calibration=make_calibration(line),
            code={"outputs": "1", "scores": "1"},
        )
        pipes: Any = SimpleNamespace(log=SimpleNamespace(info=self.said.append))
        return Evaluation.model_validate(evaluate(request.content(), pipes))
