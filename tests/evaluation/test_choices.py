"""Answers on a shared prefix are as likely as each alone: `llm_assets/choices.py` on a tiny real model."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from llm_assets import choices
from llm_assets.choices import Question, choice_losses
from llm_assets.language_model import load_model, load_tokenizer
from resources.errors import ModelError

SHOTS = [random.Random(1).randrange(3, 380) for _ in range(300)]


def plain(model: Any, questions: list[Question]) -> list[list[float]]:
    """Every answer as a sequence of its own."""

    def alone(prefix: list[int], branch: list[int]) -> float:
        with torch.inference_mode():
            logits = model(torch.tensor([prefix + branch]), use_cache=False).logits[0].double()
        rows = range(len(prefix) - 1, len(prefix) + len(branch) - 1)
        return float(-logits.log_softmax(-1)[rows, branch].sum())

    return [[alone(prefix, branch) for branch in branches] for prefix, branches in questions]


def quiz(number: int, seed: int = 2) -> list[Question]:
    """Questions after the same 300 tokens, each with four answers of one to nine tokens."""
    chance = random.Random(seed)

    def tokens(most: int) -> list[int]:
        return [chance.randrange(3, 380) for _ in range(chance.randint(1, most))]

    return [(SHOTS + tokens(30), [tokens(9) for _ in range(4)]) for _ in range(number)]


CASES: dict[str, list[Question]] = {
    "none": [],
    "one question with one answer": [([5, 6, 7], [[8, 9]])],
    "one question without answers": [([5, 6], []), ([5, 6], [[1]])],
    "a prefix of one token": [([5], [[6], [7, 8, 9], [10] * 20])],
    "an answer that begins another": [([5, 6], [[7, 8, 9], [7, 8], [7], [7, 8, 10]])],
    "an answer twice": [([5, 6], [[7, 8], [7, 8]])],
    "a question twice": [([5, 6], [[7, 8]]), ([5, 6], [[7, 8], [9]])],
    "a question that begins another": [([5, 6, 7, 8], [[9]]), ([5, 6], [[7, 8, 9], [9, 9]]), ([5], [[6, 7]])],
    "nothing in common": [([n], [[n + 1, n + 2], [n + 3]]) for n in range(10, 40)],
    "a prefix longer than a pass": [(SHOTS * 2, [[5, 6], [7]]), (SHOTS, [[8, 9]])],
    "a quiz after common shots": quiz(12),
    "two quizzes mixed": [q for pair in zip(quiz(6), [(p[150:], b) for p, b in quiz(6, 3)], strict=True) for q in pair],
}


@pytest.fixture(scope="module")
def parts(tiny_model_dir: Path) -> tuple[Any, Any]:
    return load_model(tiny_model_dir), load_tokenizer(tiny_model_dir)


def agree(found: list[list[float]], expected: list[list[float]]) -> None:
    assert [len(row) for row in found] == [len(row) for row in expected]
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batch_size", [1, 5])
def test_every_answer_is_as_likely_as_alone(parts: tuple[Any, Any], case: str, batch_size: int) -> None:
    agree(choice_losses(*parts, CASES[case], batch_size), plain(parts[0], CASES[case]))


@pytest.mark.parametrize("tokens", [1, 7, 64])
def test_passes_may_end_anywhere_in_the_tree(
    parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    monkeypatch.setattr(choices, "PASS_TOKENS", tokens)
    for case in ("an answer that begins another", "a question that begins another", "two quizzes mixed"):
        agree(choice_losses(*parts, CASES[case], 3), plain(parts[0], CASES[case]))


def test_a_shared_prefix_goes_through_the_model_once(parts: tuple[Any, Any]) -> None:
    model, _ = parts
    seen: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    questions = quiz(12)
    choice_losses(*parts, questions, 4)
    hook.remove()
    own = sum(len(prefix) - len(SHOTS) + sum(len(b) - 1 for b in branches) for prefix, branches in questions)
    assert sum(seen) <= len(SHOTS) + own
    assert max(seen) <= choices.PASS_TOKENS


def test_progress_counts_the_questions(parts: tuple[Any, Any]) -> None:
    counted: list[int] = []
    choice_losses(*parts, quiz(5), 2, counted.append)
    assert counted == [2, 2, 1]


def test_an_active_adapter_counts_and_a_disabled_one_does_not(tiny_model_dir: Path) -> None:
    import peft

    base, tokenizer = load_model(tiny_model_dir), load_tokenizer(tiny_model_dir)
    questions = quiz(3)
    without = choice_losses(base, tokenizer, questions, 4)
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = peft.get_peft_model(base, config).eval()
    adapted = choice_losses(model, tokenizer, questions, 4)
    agree(adapted, plain(model, questions))
    assert adapted[0] != pytest.approx(without[0], abs=0.01)
    with model.disable_adapter():
        agree(choice_losses(model, tokenizer, questions, 4), without)


@pytest.mark.parametrize("window", [16, 1024])
def test_a_model_with_a_sliding_window_is_measured_as_exactly(window: int) -> None:
    import transformers

    torch.manual_seed(0)
    config = transformers.MistralConfig(
        vocab_size=384,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=window,
        initializer_range=0.2,
    )
    model = transformers.MistralForCausalLM(config).eval()
    counted: list[int] = []
    questions = quiz(3)
    agree(choice_losses(model, None, questions, 4, counted.append), plain(model, questions))
    assert sum(counted) == 3


@pytest.mark.parametrize("question", [([], [[1]]), ([1], [[2], []])])
def test_a_question_or_answer_without_tokens_is_refused(parts: tuple[Any, Any], question: Question) -> None:
    with pytest.raises(ModelError, match="no tokens"):
        choice_losses(*parts, [question], 4)
