"""The evaluation's child process: ask the models, score what they said, measure, report.

Each step looks in the store first, so that no model is asked the same twice: the base and the champion were there
before, and a changed threshold only draws the page anew. Models with one base share its weights; adapters are switched.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from dagster_pipes import PipesContext

from llm_assets.child import Json, serve
from llm_assets.evaluation.asking import Asking, Log
from llm_assets.evaluation.custom import Custom
from llm_assets.evaluation.evidence import decided
from llm_assets.evaluation.exact_match import ExactMatch
from llm_assets.evaluation.examples import Example, read_examples
from llm_assets.evaluation.instruction_following import InstructionFollowing
from llm_assets.evaluation.judging import Judging
from llm_assets.evaluation.lm_eval_task import LmEval
from llm_assets.evaluation.measurements import Measurements, measure
from llm_assets.evaluation.multiple_choice import MultipleChoice
from llm_assets.evaluation.outputs import (
    Output,
    Outputs,
    read_outputs,
)
from llm_assets.evaluation.page import publish
from llm_assets.evaluation.perplexity import Perplexity
from llm_assets.evaluation.reasoning import Reasoning
from llm_assets.evaluation.refusal import Refusal
from llm_assets.evaluation.request import Evaluation, EvaluationRequest, ScoringRequest
from llm_assets.evaluation.samples import Measured
from llm_assets.evaluation.task import Score, Scores, Task, exam_digest, read_scores, write_scores
from llm_assets.evaluation.toxicity import Toxicity
from llm_assets.evaluation.truthfulness import Truthfulness
from llm_assets.evaluation.win_rate import WinRate
from llm_assets.records.evaluation import Measurement
from llm_assets.records.record import Record
from resources.errors import EvaluationError
from resources.store import digest_of

R = TypeVar("R", bound=Record)
ROUND = 32
"""Examples of an adaptive set, at least, that are asked before it is looked at again."""


class Evaluator:
    """Asks models, scores what they say and measures; a set or a model that was there before costs nothing."""

    def __init__(self, request: ScoringRequest, log: Log) -> None:
        self.request = request
        self.log = log
        self.store = request.store
        self.saved: dict[str, int] = {}
        """Adaptive set -> examples that no model had to be asked."""
        self.made = {"scores": 0, "measurements": 0}
        sets = request.sets.sets
        self.examples = {name: read_examples(self.store.path(found.rows), found) for name, found in sets.items()}
        self.asking = Asking(request, self.examples, log)
        self.judging = Judging(request, self.store, log)
        tasks: list[Task] = [
            Perplexity(),
            self.judging.task,
            Toxicity(),
            Truthfulness(),
            InstructionFollowing(),
            MultipleChoice(),
            ExactMatch(),
            Reasoning(),
            Refusal(),
        ]
        self.tasks = {
            name: [task for task in (*tasks, *self._own_tasks(name)) if task.kind == found.kind]
            for name, found in sets.items()
        }

    @property
    def computed(self) -> dict[str, int]:
        """What had to be computed: `outputs`, `answers`, `scores` and `measurements` -> how many."""
        return {**self.asking.computed, **self.made}

    def measured(self) -> tuple[list[Measured], list[Measurement]]:
        """Every set after every model was asked and scored, and what its scores amount to."""
        adaptive = [name for name in self.examples if self._is_adaptive(name)]
        self.asking.ask([name for name in self.examples if name not in adaptive])
        for name in adaptive:
            self._ask_in_rounds(name)
        measured: list[Measured] = []
        measurements: list[Measurement] = []
        for name in self.examples:
            one, given = self._scored(name)
            for task in one.tasks if "candidate" in self.request.subjects else ():
                measurements += self._measurements(task, name, given[task.name], one.scores[task.name])
            measured.append(one)
        self.log(
            "evaluation: "
            + ", ".join(f"{count} {what} computed" for what, count in self.computed.items())
            + "; all others were there."
        )
        return measured, measurements

    def _scored(self, name: str) -> tuple[Measured, dict[str, dict[str, Scores]]]:
        """A set after every model was asked, and the records of the scores, by task and model."""
        examples = self.examples[name]
        exam = exam_digest(examples)
        outputs = {model: self.asking.outputs(subject, name) for model, subject in self.request.subjects.items()}
        said = {model: read_outputs(self.store.path(found.rows)) for model, found in outputs.items()}
        for model, found in said.items():
            if [output.id for output in found] != [example.id for example in examples]:
                raise EvaluationError(f"what {model} said is not to the examples of {name}; run with an empty store.")
        given: dict[str, dict[str, Scores]] = {}
        for task in self.tasks[name]:
            if task.pairwise:
                given[task.name] = self._outcomes(task, outputs, examples, said, exam)
            else:
                given[task.name] = {
                    model: self._scores(task, found, examples, said[model], exam) for model, found in outputs.items()
                }
        scores = {
            task: {model: read_scores(self.store.path(found.rows)) for model, found in each.items()}
            for task, each in given.items()
        }
        return Measured(name, examples, said, self.tasks[name], scores), given

    def _is_adaptive(self, set_name: str) -> bool:
        """Before there is a candidate nothing can be decided, and a set is asked whole."""
        return self.request.line.evaluation.sets[set_name].adaptive and "candidate" in self.request.subjects

    def _ask_in_rounds(self, set_name: str) -> None:
        """Ask and score more and more of a set until its gates are decided; what is left is not asked."""
        whole = by_document(self.examples[set_name])
        for end in round_ends(whole):
            self.examples[set_name] = whole[:end]
            self.asking.ask([set_name])
            if decided(self.request.line, self._scored(set_name)[0], "champion" in self.request.subjects):
                break
        left = len(whole) - len(self.examples[set_name])
        if left:
            self.saved[set_name] = left
            self.log(f"{set_name}: decided after {len(whole) - left} of {len(whole)} examples; {left} are not asked")

    def _own_tasks(self, set_name: str) -> list[Task]:
        """The tasks that are another one on every set."""
        spec, found = self.request.line.evaluation.sets[set_name], self.request.sets.sets[set_name]
        source = self.store.path(found.function) / "function.py" if found.function else None
        return [Custom(spec.function, source), LmEval(spec.lm_metric)]

    def _score_key(self, task: Task, exam: str, *outputs: Outputs) -> str:
        """What names a task's scores: what was asked and is right, what was said, and who judges by which code."""
        judged = task.pairwise or isinstance(task, WinRate)
        return digest_of(
            {
                "task": task.name,
                "exam": exam,
                "outputs": [found.digest for found in outputs],
                "judge": self.request.judge if judged else "",
                "identity": task.identity,
                "code": self.request.code["scores"],
            }
        )

    def _scores(self, task: Task, outputs: Outputs, examples: list[Example], said: list[Output], exam: str) -> Scores:
        def compute() -> Scores:
            scores = task.score_all(examples, said)
            broken = sum("checker broke" in score.reason for score in scores)
            if broken:
                self.log(f"{task.name}: {broken} of {len(scores)} samples count as not followed: their checker broke.")
            return Scores(rows=self.store.put_files({"scores.jsonl": write_scores(scores)}))

        return self._once(self._score_key(task, exam, outputs), Scores, "scores", compute)

    def _outcomes(
        self, task: Task, outputs: dict[str, Outputs], examples: list[Example], said: dict[str, list[Output]], exam: str
    ) -> dict[str, Scores]:
        """Opponent -> how the candidate fares against it; kept if asking the judge again would not change it."""
        given = {}
        for opponent in [model for model in outputs if model != "candidate" and "candidate" in outputs]:
            key = self._score_key(task, exam, outputs["candidate"], outputs[opponent])
            found = Scores.published(self.store, key)
            if found is None:
                outcomes = task.outcomes(examples, said["candidate"], said[opponent])
                found = Scores(rows=self.store.put_files({"scores.jsonl": write_scores(outcomes)}))
                self.made["scores"] += 1
                if self.judging.is_final(outcomes):
                    self.store.put_result(key, found.save(self.store))
            given[opponent] = found
        return given

    def _measurements(
        self, task: Task, set_name: str, given: dict[str, Scores], scores: dict[str, list[Score]]
    ) -> list[Measurement]:
        confidence, adaptive = self.request.line.evaluation.confidence, self._is_adaptive(set_name)
        parts = {
            "task": task.name,
            "set": [set_name, self.request.sets.sets[set_name].digest, len(self.examples[set_name])],
            "scores": {model: found.digest for model, found in given.items()},
            "margin": task.tie_margin if isinstance(task, WinRate) else 0,
            "confidence": confidence,
            "adaptive": adaptive,
            "code": self.request.code["scores"],
        }

        def compute() -> Measurements:
            examples = self.examples[set_name]
            return Measurements(measurements=measure(task, set_name, examples, scores, confidence, adaptive))

        found = self._once(digest_of(parts), Measurements, "measurements", compute).measurements
        if not any(each.metric == task.name for each in found):
            self.log(f"{task.name} on {set_name} is missing: a sample had no finite score, or there are too few.")
        return found

    def _once(self, key: str, record_type: type[R], what: str, compute: Callable[[], R]) -> R:
        record = record_type.published(self.store, key)
        if record is None:
            record = compute()
            self.store.put_result(key, record.save(self.store))
            self.made[what] += 1
        return record


def by_document(examples: Sequence[Example]) -> list[Example]:
    """The examples, those of one document behind each other.

    Documents come in an order that has nothing to do with their sizes: by where its first example stands a large one
    would come early, and the first rounds would be about other documents than the last.
    """
    return sorted(examples, key=lambda example: hashlib.sha256(f"document {example.source}".encode()).hexdigest())


def round_ends(examples: Sequence[Example]) -> Iterator[int]:
    """How many examples each round ends with: ROUND or more are new, and no document is seen in part."""
    last = 0
    for end, example in enumerate(examples, start=1):
        if end == len(examples) or (end - last >= ROUND and example.source != examples[end].source):
            yield end
            last = end


def evaluate(request: Json, pipes: PipesContext) -> Json:
    """The child's work, see `resources/compute.py`."""
    parsed = EvaluationRequest.model_validate(request)
    evaluator = Evaluator(parsed, pipes.log.info)
    measured, measurements = evaluator.measured()
    status = evaluator.judging.status(measured)
    report = publish(parsed, evaluator.store, measurements, measured, status, evaluator.saved)
    return Evaluation(report=report, computed=evaluator.computed).content()


if __name__ == "__main__":
    serve(evaluate)
