"""The evaluation's child process: ask the models, score what they said, measure, report.

Each step looks in the store first, so that no model is asked the same twice: the base and the champion were there
before, and a changed threshold only draws the page anew. Models with one base share its weights; adapters are switched.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from dagster_pipes import PipesContext
from tqdm import tqdm

from llm_assets.child import Json, serve
from llm_assets.evaluation.answers import AnswerCache, prompt_keys
from llm_assets.evaluation.custom import Custom
from llm_assets.evaluation.exact_match import ExactMatch
from llm_assets.evaluation.examples import Example, read_examples
from llm_assets.evaluation.instruction_following import InstructionFollowing
from llm_assets.evaluation.judge import EmbeddingJudge
from llm_assets.evaluation.lm_eval_task import LmEval
from llm_assets.evaluation.measurements import Measurements, measure
from llm_assets.evaluation.multiple_choice import MultipleChoice
from llm_assets.evaluation.outputs import (
    FILE,
    Output,
    Outputs,
    Solver,
    Subject,
    answers_wanted,
    read_outputs,
    write_outputs,
)
from llm_assets.evaluation.page import publish
from llm_assets.evaluation.perplexity import Perplexity
from llm_assets.evaluation.reasoning import Reasoning
from llm_assets.evaluation.refusal import Refusal
from llm_assets.evaluation.request import Evaluation, EvaluationRequest, ScoringRequest
from llm_assets.evaluation.samples import Measured
from llm_assets.evaluation.task import Score, Scores, Task, read_scores, write_scores
from llm_assets.evaluation.toxicity import Toxicity
from llm_assets.evaluation.truthfulness import Truthfulness
from llm_assets.evaluation.win_rate import WinRate
from llm_assets.records import Measurement, Record
from resources.errors import EvaluationError
from resources.store import digest_of

R = TypeVar("R", bound=Record)
Log = Callable[[str], Any]
"""Takes one line for the run's log."""


class Evaluator:
    """Asks models, scores what they say and measures; a set or a model that was there before costs nothing."""

    def __init__(self, request: ScoringRequest, log: Log) -> None:
        self.request = request
        self.log = log
        self.store = request.store
        self.answers: dict[str, AnswerCache] = {}
        """Subject digest -> what it was asked before."""
        self.computed = {"outputs": 0, "answers": 0, "scores": 0, "measurements": 0}
        sets = request.sets.sets
        self.examples = {name: read_examples(self.store.path(found.rows), found) for name, found in sets.items()}
        judge = request.line.evaluation.judge
        tasks: list[Task] = [
            Perplexity(),
            WinRate(EmbeddingJudge(Path(request.embedder)), judge.tie_margin),
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

    def measured(self) -> tuple[list[Measured], list[Measurement]]:
        """Every set after every model was asked and scored, and what its scores amount to."""
        self._ask_models()
        measured: list[Measured] = []
        measurements: list[Measurement] = []
        for name, examples in self.examples.items():
            outputs = {model: self._outputs(subject, name) for model, subject in self.request.subjects.items()}
            said = {model: read_outputs(self.store.path(found.rows)) for model, found in outputs.items()}
            scores: dict[str, dict[str, list[Score]]] = {}
            for task in self.tasks[name]:
                given = {model: self._scores(task, found, examples, said[model]) for model, found in outputs.items()}
                scores[task.name] = {model: read_scores(self.store.path(found.rows)) for model, found in given.items()}
                measurements += self._measurements(task, name, given, scores[task.name])
            measured.append(Measured(name, examples, said, self.tasks[name], scores))
        self.log(
            "evaluation: "
            + ", ".join(f"{count} {what} computed" for what, count in self.computed.items())
            + "; all others were there."
        )
        return measured, measurements

    def _own_tasks(self, set_name: str) -> list[Task]:
        """The tasks that are another one on every set."""
        spec, found = self.request.line.evaluation.sets[set_name], self.request.sets.sets[set_name]
        source = self.store.path(found.function) / "function.py" if found.function else None
        return [Custom(spec.function, source), LmEval(spec.lm_metric)]

    def _ask_models(self) -> None:
        """Make the outputs that are missing, loading a base model at most once, and only to ask something new."""
        missing: dict[str, list[tuple[str, Subject, str]]] = {}
        seen: set[str] = set()
        for model, subject in self.request.subjects.items():
            for name in self.examples:
                key = self._output_key(subject, name)
                if key not in seen and Outputs.published(self.store, key) is None:
                    if self._unasked(subject, name):
                        missing.setdefault(subject.base.digest, []).append((model, subject, name))
                    else:
                        self._publish_outputs(subject, name)
                seen.add(key)
        for work in missing.values():
            self._ask_one_base(work)

    def _ask_one_base(self, work: Sequence[tuple[str, Subject, str]]) -> None:
        from llm_assets.language_model import attach_adapter, load_model, load_tokenizer

        base = self.store.path(work[0][1].base)
        tokenizer, plain = load_tokenizer(base), load_model(base)
        model = plain
        attached: set[str] = set()
        for name, subject, set_name in work:
            if subject.adapter and subject.adapter.digest not in attached:
                model = attach_adapter(model, self.store.path(subject.adapter), subject.adapter.digest)
                attached.add(subject.adapter.digest)
            unasked = self._unasked(subject, set_name)
            progressing = self._progress(name, set_name, len(unasked))
            with _speaking_as(model, subject, adapted=bool(attached)), progressing as progress:
                batch = self.request.line.evaluation.batch_size
                solver = Solver(model, tokenizer, subject.system, batch, progress)
                outputs = self._solved(solver, set_name, list(unasked.values()))
            self._answers(subject).add(dict(zip(unasked, outputs, strict=True)))
            self._publish_outputs(subject, set_name)
            self.computed["outputs"] += 1
            self.computed["answers"] += len(unasked)

    def _solved(self, solver: Solver, set_name: str, examples: list[Example]) -> list[Output]:
        spec = self.request.line.evaluation.sets[set_name]
        if spec.kind == "lm_eval":
            return solver.run_harness(self.store.path(self.request.sets.sets[set_name].rows), examples)
        return solver.solve(spec.kind, examples, spec.max_new_tokens)

    def _answers(self, subject: Subject) -> AnswerCache:
        if subject.digest not in self.answers:
            self.answers[subject.digest] = AnswerCache(self.store, subject, self.request.code["outputs"])
        return self.answers[subject.digest]

    def _prompt_keys(self, set_name: str) -> list[str]:
        spec = self.request.line.evaluation.sets[set_name]
        # of a harness task everything in its folder decides, not the document alone
        task = self.request.sets.sets[set_name].rows.digest if spec.kind == "lm_eval" else ""
        return prompt_keys(spec.kind, self.examples[set_name], spec.max_new_tokens, task)

    def _unasked(self, subject: Subject, set_name: str) -> dict[str, Example]:
        """The prompts of a set that this model was never asked, by key."""
        return self._answers(subject).missing(self._prompt_keys(set_name), self.examples[set_name])

    def _publish_outputs(self, subject: Subject, set_name: str) -> None:
        outputs = self._answers(subject).outputs(self._prompt_keys(set_name), self.examples[set_name])
        rows = self.store.put_files({FILE: write_outputs(outputs)})
        self.store.put_result(self._output_key(subject, set_name), Outputs(rows=rows).save(self.store))

    @contextmanager
    def _progress(self, model: str, set_name: str, examples: int) -> Iterator[Callable[[int], Any]]:
        total = answers_wanted(self.request.sets.sets[set_name].kind, examples)
        start = time.monotonic()
        with tqdm(total=total, desc=f"{model} on {set_name}", unit="answer", mininterval=1) as bar:
            yield bar.update
        self.log(f"{model} on {set_name}: {total} answers in {time.monotonic() - start:.1f} s")

    def _outputs(self, subject: Subject, set_name: str) -> Outputs:
        return self._once(self._output_key(subject, set_name), Outputs, "outputs", _unreachable)

    def _output_key(self, subject: Subject, set_name: str) -> str:
        found = self.request.sets.sets[set_name]
        wanted = self.request.line.evaluation.sets[set_name].max_new_tokens
        return digest_of(
            {"model": subject.digest, "set": found.rows.digest, "tokens": wanted, "code": self.request.code["outputs"]}
        )

    def _scores(self, task: Task, outputs: Outputs, examples: list[Example], said: list[Output]) -> Scores:
        judge = self.request.judge if isinstance(task, WinRate) else ""
        parts = {"task": task.name, "outputs": outputs.digest, "judge": judge, "code": self.request.code["scores"]}
        parts["identity"] = task.identity

        def compute() -> Scores:
            scores = task.score_all(examples, said)
            broken = sum("checker broke" in score.reason for score in scores)
            if broken:
                self.log(f"{task.name}: {broken} of {len(scores)} samples count as not followed: their checker broke.")
            return Scores(rows=self.store.put_files({"scores.jsonl": write_scores(scores)}))

        return self._once(digest_of(parts), Scores, "scores", compute)

    def _measurements(
        self, task: Task, set_name: str, given: dict[str, Scores], scores: dict[str, list[Score]]
    ) -> list[Measurement]:
        confidence = self.request.line.evaluation.confidence
        parts = {
            "task": task.name,
            "set": [set_name, self.request.sets.sets[set_name].digest],
            "scores": {model: found.digest for model, found in given.items()},
            "margin": task.tie_margin if isinstance(task, WinRate) else 0,
            "confidence": confidence,
            "code": self.request.code["scores"],
        }

        def compute() -> Measurements:
            return Measurements(measurements=measure(task, set_name, self.examples[set_name], scores, confidence))

        found = self._once(digest_of(parts), Measurements, "measurements", compute).measurements
        if not any(each.metric == task.name for each in found):
            self.log(f"{task.name} on {set_name} is missing: a sample had no finite score, or there are too few.")
        return found

    def _once(self, key: str, record_type: type[R], what: str, compute: Callable[[], R]) -> R:
        record = record_type.published(self.store, key)
        if record is None:
            record = compute()
            self.store.put_result(key, record.save(self.store))
            self.computed[what] += 1
        return record


@contextmanager
def _speaking_as(model: Any, subject: Subject, adapted: bool) -> Iterator[None]:
    """Switch to the subject's adapter, or to the base below the adapters that are attached."""
    if subject.adapter is not None:
        model.set_adapter(subject.adapter.digest)
        yield
    elif adapted:
        with model.disable_adapter():
            yield
    else:
        yield


def _unreachable() -> Outputs:
    raise EvaluationError("outputs that were just written are gone from the store; run this again.")


def evaluate(request: Json, pipes: PipesContext) -> Json:
    """The child's work, see `resources/compute.py`."""
    parsed = EvaluationRequest.model_validate(request)
    evaluator = Evaluator(parsed, pipes.log.info)
    measured, measurements = evaluator.measured()
    report = publish(parsed, evaluator.store, measurements, measured)
    return Evaluation(report=report, computed=evaluator.computed).content()


if __name__ == "__main__":
    serve(evaluate)
