"""Greedy answers of a causal language model to many prompts. Like `language_model`, this loads torch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from llm_assets.language_model import turn_end


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    batch_size: int,
    progress: Callable[[int], Any] | None = None,
) -> list[str]:
    """Greedy answers, without special tokens, in the order of the prompts.

    Prompts of like length go through together, padded on the left: an answer is the one its prompt gets alone.

    Args:
        prompts: from `encode_chat`.
        progress: called with the number of prompts just answered, for example `tqdm.update`.
    """
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)
    ends = {int(tokenizer.eos_token_id), turn_end(tokenizer)}
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        found = _greedy(model, [prompts[index] for index in batch], max_new_tokens, ends)
        texts = tokenizer.batch_decode(found, skip_special_tokens=True)
        for index, text in zip(batch, texts, strict=True):
            answers[index] = text.strip()
        if progress:
            progress(len(batch))
    return answers


@torch.inference_mode()
def _greedy(model: Any, prompts: list[list[int]], max_new_tokens: int, ends: set[int]) -> list[list[int]]:
    """The likeliest next tokens of each prompt, up to one that ends it. A row that has ended leaves the batch."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    answers: list[list[int]] = [[] for _ in prompts]
    going = answers  # the rows of the batch
    cache = None
    for _ in range(max_new_tokens):
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        tokens = output.logits[:, -1].argmax(-1)
        stay = [row for row, token in enumerate(tokens.tolist()) if token not in ends]
        if not stay:
            break
        if len(stay) < len(going):
            rows = torch.tensor(stay)
            cache.batch_select_indices(rows)
            going, tokens, mask, positions = [going[row] for row in stay], tokens[rows], mask[rows], positions[rows]
        for answer, token in zip(going, tokens.tolist(), strict=True):
            answer.append(token)
        ids = tokens[:, None]
        mask = torch.cat([mask, mask.new_ones(len(going), 1)], dim=1)
        positions = positions[:, -1:] + 1
    return answers
