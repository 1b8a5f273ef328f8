"""The engine without HTTP."""

from pathlib import Path

import pytest

from llm_assets.serving.text import AnswerText
from resources.errors import ModelError


def test_a_first_adapter_that_does_not_fit_leaves_a_whole_base_model(tiny_model_dir: Path, adapters_root: Path) -> None:
    import torch

    from llm_assets.serving.engine import Engine

    engine = Engine(tiny_model_dir)
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        before = engine.model(ids).logits
        for folder in ("other_base", "fewer", "renamed"):
            with pytest.raises(ModelError, match=r"fit|not a safetensors"):
                engine.load("evil", adapters_root / folder).result(60)
            assert torch.equal(engine.model(ids).logits, before)
            assert not any("lora" in name for name, _ in engine.model.named_parameters())
        engine.load("one", adapters_root / "one").result(60)
        engine.unload("one").result(60)
        assert torch.equal(engine.model(ids).logits, before)


def text_of(pieces: list[str], stop: tuple[str, ...] = ()) -> tuple[list[str], str]:
    """Deltas and whole text of tokens that stand for pieces of text."""
    answer = AnswerText(lambda ids: "".join(pieces[i] for i in ids), stop)
    deltas = []
    for token in range(len(pieces)):
        deltas.append(answer.push(token))
        if answer.stopped:
            break
    return [*deltas, answer.finish()], answer.sent


def test_the_deltas_of_a_stream_are_the_stripped_text() -> None:
    deltas, whole = text_of([" ", "Hello", " ", "you", " \n"])
    assert "".join(deltas) == whole == "Hello you"
    assert deltas[1] == "Hello"


def test_half_a_character_is_held_back() -> None:
    answer = AnswerText(lambda ids: ["a", "a\ufffd", "a你"][len(ids) - 1])
    assert [answer.push(0), answer.push(1), answer.push(2)] == ["a", "", "你"]


def test_a_stop_string_that_spans_tokens_is_never_shown() -> None:
    deltas, whole = text_of(["Yes", ".", " EN", "D", " more"], stop=(" END",))
    assert "".join(deltas) == whole == "Yes."
