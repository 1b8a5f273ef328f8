"""Encoding, losses and generation, of `language_model.py` and `generation.py`, on a tiny real model."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from llm_assets import language_model as lm
from llm_assets.generation import generate
from resources.errors import ModelError

CHATS = [
    [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    for question, answer in [
        ("Hello", "Hi there"),
        ("What is your favourite book?", "I like books about robots and the sea."),
        ("你好吗？", "我很好，谢谢你。"),
        ("Tell me about the weather, and please do it at some length", "No"),
        ("a", "Yes, I play football with my friends every week."),
    ]
]


@pytest.fixture(scope="module")
def parts(tiny_model_dir: Path) -> tuple[Any, Any]:
    return lm.load_model(tiny_model_dir), lm.load_tokenizer(tiny_model_dir)


def test_an_example_begins_with_exactly_the_prompt_that_generation_gets(parts: tuple[Any, Any]) -> None:
    _, tokenizer = parts
    for chat in CHATS:
        ids, start = lm.encode_example(tokenizer, chat, "Be kind.", 400)
        assert ids[:start] == lm.encode_chat(tokenizer, chat[:-1], "Be kind.")
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(ids[start:-1]) == chat[-1]["content"]


def test_an_empty_system_prompt_adds_no_system_message_and_an_own_one_wins(parts: tuple[Any, Any]) -> None:
    _, tokenizer = parts
    question = CHATS[0][:1]
    own = [{"role": "system", "content": "Own."}, *question]
    assert "system" not in tokenizer.decode(lm.encode_chat(tokenizer, question, ""))
    assert lm.encode_chat(tokenizer, own, "Other.") == lm.encode_chat(tokenizer, own, "")


@pytest.mark.parametrize("maximum", [2, 5, 12, 20])
def test_a_long_example_is_cut_to_the_limit_and_keeps_prompt_and_answer(parts: tuple[Any, Any], maximum: int) -> None:
    _, tokenizer = parts
    for chat in CHATS:
        ids, start = lm.encode_example(tokenizer, chat, "", maximum)
        assert len(ids) <= maximum
        assert 1 <= start < len(ids)


def test_an_example_without_an_answer_is_refused(parts: tuple[Any, Any]) -> None:
    with pytest.raises(ModelError, match="role assistant"):
        lm.encode_example(parts[1], CHATS[0][:1], "", 100)


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_answers_are_those_of_transformers_to_each_prompt_alone(parts: tuple[Any, Any], batch_size: int) -> None:
    model, tokenizer = parts
    prompts = [lm.encode_chat(tokenizer, chat[:-1], "") for chat in CHATS]
    counted: list[int] = []
    found = generate(model, tokenizer, prompts, 12, batch_size, counted.append)
    expected = [alone(model, prompt, 12, tokenizer.eos_token_id) for prompt in prompts]
    assert found == [tokenizer.decode(answer, skip_special_tokens=True).strip() for answer in expected]
    assert sum(counted) == len(prompts)


def test_a_row_that_ends_early_leaves_the_others_as_they_are(
    parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = parts
    prompts = [lm.encode_chat(tokenizer, chat[:-1], "") for chat in CHATS]
    answers = [alone(model, prompt, 12, tokenizer.eos_token_id) for prompt in prompts]
    # A token that some of the answers hold now ends an answer.
    holders = Counter(token for answer in answers for token in set(answer))
    end = next(token for token, count in holders.most_common() if count < len(prompts))
    monkeypatch.setattr("llm_assets.generation.turn_end", lambda _: end)
    rows: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    found = generate(model, tokenizer, prompts, 12, 5)
    hook.remove()
    expected = [alone(model, prompt, 12, end) for prompt in prompts]
    assert found == [tokenizer.decode(answer, skip_special_tokens=True).strip() for answer in expected]
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] < rows[0]


def alone(model: Any, prompt: list[int], new_tokens: int, end: int) -> list[int]:
    """The greedy answer by transformers' own generation."""
    config = transformers.GenerationConfig(do_sample=False, max_new_tokens=new_tokens, eos_token_id=end, pad_token_id=0)
    ids = torch.tensor([prompt])
    output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    answer: list[int] = output[0, len(prompt) :].tolist()
    return answer[: answer.index(end)] if end in answer else answer


def test_losses_are_those_of_each_example_alone_in_nats(parts: tuple[Any, Any]) -> None:
    model, tokenizer = parts
    examples = [lm.encode_example(tokenizer, chat, "", 400) for chat in CHATS]
    packed = lm.answer_losses(model, tokenizer, examples, 4)
    for (ids, start), (loss, tokens) in zip(examples, packed, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0].double()
        expected = -logits.log_softmax(-1)[range(start - 1, len(ids) - 1), ids[start:]].sum()
        assert tokens == len(ids) - start
        assert loss == pytest.approx(float(expected), rel=1e-4)


def test_packs_respect_both_limits() -> None:
    examples = [([0] * length, 1) for length in (1000, 50, 900, 1100, 3, 3, 3)]
    sizes = [len(pack) for pack in lm.packs(examples, 2)]
    assert sizes == [1, 2, 1, 2, 1]


def test_a_folder_without_a_model_is_named_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=str(tmp_path)):
        lm.load_model(tmp_path)
    with pytest.raises(ModelError, match=str(tmp_path)):
        lm.load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("config", "extra", "message"),
    [
        ({"peft_type": "LORA"}, "adapter_model.bin", "run code"),
        ({"peft_type": "LORA"}, "custom.py", "run code"),
        ({"peft_type": "PROMPT_TUNING"}, None, "only LORA"),
        ({"peft_type": "LORA", "megatron_config": {"a": 1}}, None, "megatron_config"),
    ],
)
def test_an_adapter_that_could_run_code_is_refused(
    tmp_path: Path, config: dict[str, Any], extra: str | None, message: str
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    if extra:
        (tmp_path / extra).write_bytes(b"")
    with pytest.raises(ModelError, match=message):
        lm.check_adapter(tmp_path)
