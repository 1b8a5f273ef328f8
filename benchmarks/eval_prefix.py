"""eval-prefix: multiple choice after eight solved examples, with answers of many tokens; against lm-eval's HFLM."""

from typing import Any

from benchmarks.benchmark import Benchmark, Setting, Side, Work
from benchmarks.quiz import SHOTS, quiz, shots

BATCH = 16
SEED = 7


def _texts(size: int) -> list[tuple[str, list[str]]]:
    """(context, answers) of each question."""
    before = shots(quiz(SHOTS, SEED + 1))
    return [(before + item.question, item.answers) for item in quiz(size, SEED)]


def _ours(setting: Setting) -> Work:
    from llm_assets.choices import choice_losses
    from llm_assets.language_model import load_model, load_tokenizer

    model, tokenizer = load_model(setting.model), load_tokenizer(setting.model)

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return found

    def work() -> list[list[float]]:
        questions = [(ids(context), [ids(answer) for answer in answers]) for context, answers in _texts(setting.size)]
        return [[-loss for loss in losses] for losses in choice_losses(model, tokenizer, questions, BATCH)]

    return work


def _lm_eval(setting: Setting) -> Work:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from llm_assets.language_model import load_model, load_tokenizer

    lm = HFLM(
        pretrained=load_model(setting.model),
        tokenizer=load_tokenizer(setting.model),
        backend="causal",
        batch_size=BATCH,
    )

    def work() -> list[list[float]]:
        requests = [
            Instance("loglikelihood", {}, (context, answer), number)
            for context, answers in _texts(setting.size)
            for number, answer in enumerate(answers)
        ]
        found = [total for total, _ in lm.loglikelihood(requests, disable_tqdm=True)]
        return [found[start : start + 4] for start in range(0, len(found), 4)]

    return work


def _agree(ours: Any, theirs: Any) -> str:
    gaps = [abs(a - b) for mine, other in zip(ours, theirs, strict=True) for a, b in zip(mine, other, strict=True)]
    assert max(gaps) <= 1e-4, f"log-probabilities differ by {max(gaps):.1e}"
    return f"{len(gaps)} log-probabilities, largest difference {max(gaps):.1e} nats"


BENCHMARK = Benchmark(
    name="eval-prefix",
    work="log-probabilities of four answers of many tokens to each question, behind eight solved ones",
    unit="questions",
    size=200,
    aim="10x questions per CPU second",
    ours=Side("llm_assets", ("torch", "transformers"), _ours),
    peer=Side("lm-eval HFLM", ("lm-eval",), _lm_eval),
    agree=_agree,
)
