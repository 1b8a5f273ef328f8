"""The judge of one evaluation: which one the line asks for, what it is worth, and how often it answered."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from llm_assets.evaluation.chat_judge import ChatJudge
from llm_assets.evaluation.judge import EmbeddingJudge, EmbeddingPairs
from llm_assets.evaluation.judge_status import Qualification, status_of
from llm_assets.evaluation.pairs import PairJudge
from llm_assets.evaluation.qualification import qualify
from llm_assets.evaluation.request import ScoringRequest
from llm_assets.evaluation.samples import Measured
from llm_assets.evaluation.task import Score, Task
from llm_assets.evaluation.win_rate import JudgedWinRate, WinRate
from llm_assets.records.evaluation import JudgeStatus, reaches
from resources.judge import ChatClient, Endpoint, Patience
from resources.store import ArtifactStore, digest_of


class Judging:
    """Builds the judge and its task, qualifies it once, and says whether it may gate."""

    def __init__(self, request: ScoringRequest, store: ArtifactStore, log: Callable[[str], Any]) -> None:
        self.request = request
        self.store = store
        self.log = log
        self.spec = request.line.evaluation.judge
        self.client: ChatClient | None = None
        self.task: Task
        self.judge: PairJudge
        if self.spec.kind == "openai":
            patience = Patience(
                self.spec.timeout_seconds, self.spec.retries, self.spec.retry_seconds, self.spec.concurrency
            )
            self.client = ChatClient(Endpoint.from_env(self.spec.model), patience, store, self.spec.version)
            self.judge = ChatJudge(self.client)
            self.task = JudgedWinRate(self.judge)
        else:
            embedding = EmbeddingJudge(Path(request.embedder))
            self.judge = EmbeddingPairs(embedding, self.spec.tie_margin)
            self.task = WinRate(embedding, self.spec.tie_margin)

    @property
    def model(self) -> str:
        """What judges, for people."""
        return self.client.endpoint.model if self.client else self.spec.embedder.removeprefix("package://")

    def status(self, measured: Sequence[Measured]) -> JudgeStatus | None:
        """What the judge is worth, and what it did; None if there was nothing to judge."""
        given = [one.scores[self.task.name] for one in measured if self.task.name in one.scores]
        if not given:
            return None
        compared = [scores for each in given for scores in each.values()]
        judged, missing = least_judged(compared)
        failed = sum(score.failed for scores in compared for score in scores)
        status = status_of(self.spec, self.model, self.qualification, judged, missing, failed)
        asked = f"; {self.client.asked} requests, the others were answered before" if self.client else ""
        self.log(f"judge: {status.reason} Judged {judged} of {judged + missing} pairs{asked}.")
        return status

    def before(self) -> JudgeStatus | None:
        """What the judge is worth before it judged anything; None if no gate of the line reads a win rate."""
        if not any(gate.metric == self.task.name for gate in self.request.line.gates.values()):
            return None
        status = status_of(self.spec, self.model, self.qualification, judged=0, missing=0)
        self.log(f"judge: {status.reason}")
        return status

    def is_final(self, outcomes: Sequence[Score]) -> bool:
        """Whether these may be reused: nothing failed and the quorum is judged. Otherwise the judge is asked again."""
        judged, missing = least_judged([outcomes])
        return not any(outcome.failed for outcome in outcomes) and reaches(self.spec.quorum, judged, missing)

    @cached_property
    def qualification(self) -> Qualification:
        """Measured once per judge; anew if the judge, its prompt, the labelled pairs or the code changed, and until
        nothing fails and the quorum is judged."""
        key = digest_of({"qualification": self.request.judge, "code": self.request.code["scores"]})
        found = Qualification.published(self.store, key)
        if found is None:
            found = qualify(self.judge)
            if not found.failed and reaches(self.spec.quorum, found.judged, found.missing):
                self.store.put_result(key, found.save(self.store))
        return found


def least_judged(compared: Iterable[Sequence[Score]]) -> tuple[int, int]:
    """Pairs with and without an outcome, of the comparison with the largest share without."""
    counts = [(sum(score.value is not None for score in scores), len(scores)) for scores in compared]
    judged, asked = min(counts, key=lambda count: count[0] / count[1] if count[1] else 1.0)
    return judged, asked - judged
