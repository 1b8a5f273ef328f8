"""A causal language model on this machine: load, encode a conversation, measure, attach an adapter.

Plain functions that training, evaluation and serving share, so that a conversation is encoded in one way everywhere.
Only child processes and servers import this module: it loads torch and transformers. Nothing here trains, and
nothing here reaches a network or runs code that came with a model.

An example is `(ids, answer_start)`: the token ids of a whole conversation and the index of the answer's first token.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub when transformers imports it
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import transformers

from resources.errors import ModelError

transformers.utils.logging.disable_progress_bar()

Example = tuple[list[int], int]
Messages = Sequence[Mapping[str, str]]

PACK_TOKENS = 1024
"""Tokens of one pass: bounds memory. Training SmolLM2-135M peaks at 3.3 GB with 1024, at 5.7 GB with 2048."""
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
"""Endings of weight files that run code when they are read."""


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder, ready for padding on the left.

    Raises:
        ModelError: the folder has no readable tokenizer, no chat template or no end-of-text token.
    """
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder}: no readable tokenizer ({_one_line(error)}); it needs a tokenizer.json.") from error
    if not tokenizer.chat_template:
        raise ModelError(f"{folder}: the tokenizer has no chat template; add a chat_template.jinja to the folder.")
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{folder}: the tokenizer has no eos_token; name it in tokenizer_config.json.")
    tokenizer.padding_side = "left"
    return tokenizer


def load_model(folder: Path) -> Any:
    """The model of a folder of safetensors: fp32, evaluation mode, on the CPU, greedy generation without extras.

    fp32 because it is the faster and the exact one on a CPU.

    Raises:
        ModelError: the folder has no readable safetensors model.
    """
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{folder}: no readable safetensors model ({_one_line(error)}).") from error
    # What a model ships as defaults (sampling, repetition penalty) would change greedy decoding.
    model.generation_config = transformers.GenerationConfig()
    model.config.use_cache = True
    return model.eval()


def attach_adapter(model: Any, folder: Path, name: str) -> Any:
    """Load a LoRA adapter under a name; the base model stays in memory once however many are attached.

    Returns:
        The peft model: a new one around a plain model, or the given one with one more adapter. `set_adapter(name)`
        chooses, `disable_adapter()` gives the base.

    Raises:
        ModelError: the folder holds no safetensors adapter, another kind than LoRA, or does not fit the model.
    """
    import peft

    check_adapter(folder)
    try:
        if isinstance(model, peft.PeftModel):
            model.load_adapter(str(folder), adapter_name=name, is_trainable=False)
        else:
            model = peft.PeftModel.from_pretrained(model, str(folder), adapter_name=name, is_trainable=False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"adapter {folder} does not fit the base model ({_one_line(error)}).") from error
    return model.eval()


def check_adapter(folder: Path) -> None:
    """Refuse an adapter that could run code or is not a LoRA in safetensors.

    Raises:
        ModelError: what is wrong with which file.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix in PICKLES or path.suffix == ".py":
            raise ModelError(f"adapter {folder}: {path.name} can run code when loaded; only safetensors are accepted.")
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        present = (folder / "adapter_model.safetensors").is_file()
    except (OSError, ValueError) as error:
        raise ModelError(f"adapter {folder}: adapter_config.json can't be read ({_one_line(error)}).") from error
    if not present:
        raise ModelError(f"adapter {folder}: adapter_model.safetensors is missing.")
    if config.get("peft_type") != "LORA":
        raise ModelError(f"adapter {folder}: peft_type is {config.get('peft_type')!r}; only LORA is served.")
    for key in ("auto_mapping", "megatron_config"):  # both name modules that peft would import
        if config.get(key):
            raise ModelError(f"adapter {folder}: adapter_config.json sets {key}, which is not allowed; remove it.")


def encode_chat(tokenizer: Any, messages: Messages, system: str) -> list[int]:
    """Token ids of a conversation up to where the assistant's next turn begins.

    Args:
        system: put first unless the conversation brings a system message of its own; empty adds none. (A chat
            template may still add its default one.)
    """
    return _ids(tokenizer, _render(tokenizer, _with_system(messages, system), generation_prompt=True))


def encode_example(tokenizer: Any, messages: Messages, system: str, maximum_tokens: int) -> Example:
    """Token ids of a conversation that ends with the assistant's answer, closed by the end of its turn.

    The ids before the answer are exactly those of `encode_chat`. A conversation that is too long loses its oldest
    tokens first, but keeps a quarter of the room for the prompt; then the answer loses its end.

    Returns:
        `(ids, answer_start)` with 1 <= answer_start < len(ids) <= max(maximum_tokens, 2).

    Raises:
        ModelError: the last message is not the assistant's.
    """
    if not messages or messages[-1]["role"] != "assistant":
        raise ModelError("an example must end with a message of role assistant; check the data contract.")
    conversation = _with_system(messages, system)
    before = _render(tokenizer, conversation[:-1], generation_prompt=True)
    whole = _render(tokenizer, conversation, generation_prompt=False)
    # The rest of the rendered text keeps what a template puts around an answer, such as a space.
    text = whole[len(before) :] if whole.startswith(before) else conversation[-1]["content"]
    answer = _closed(_ids(tokenizer, text), turn_end(tokenizer))
    prompt = _ids(tokenizer, before)
    room = max(maximum_tokens - len(answer), maximum_tokens // 4, 1)
    prompt = prompt[-room:]
    return prompt + answer[: max(maximum_tokens - len(prompt), 1)], len(prompt)


def turn_end(tokenizer: Any) -> int:
    """The token that closes an assistant's turn in the chat template; for many models that is not `eos`."""
    probe = _render(
        tokenizer, [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], generation_prompt=False
    )
    special = set(tokenizer.all_special_ids) | {
        i for i, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    tail = _ids(tokenizer, probe[probe.rindex("b") + 1 :])
    return next((token for token in tail if token in special), int(tokenizer.eos_token_id))


def answer_losses(
    model: Any,
    tokenizer: Any,  # noqa: ARG001 (the same leading arguments as `generation.generate`)
    examples: Sequence[Example],
    batch_size: int,
    progress: Callable[[int], Any] | None = None,
) -> list[tuple[float, int]]:
    """Summed negative log-likelihood of each example's answer, in nats, and its number of tokens; order kept."""
    order = sorted(range(len(examples)), key=lambda index: len(examples[index][0]), reverse=True)
    results: list[tuple[float, int]] = [(0.0, 0)] * len(examples)
    done = 0
    for batch in packs([examples[index] for index in order], batch_size):
        with torch.inference_mode():
            losses, owners = packed_losses(model, batch)
        sums = torch.zeros(len(batch), dtype=torch.float64).index_add_(0, owners, losses.double()).tolist()
        for (ids, answer_start), total in zip(batch, sums, strict=True):
            results[order[done]] = (total, len(ids) - answer_start)
            done += 1
        if progress:
            progress(len(batch))
    return results


def packs(examples: Sequence[Example], batch_size: int) -> Iterator[list[Example]]:
    """Consecutive examples that go through the model together: at most `batch_size` and `PACK_TOKENS` tokens."""
    pack: list[Example] = []
    for example in examples:
        tokens = sum(len(ids) for ids, _ in pack) + len(example[0])
        if pack and (len(pack) == batch_size or tokens > PACK_TOKENS):
            yield pack
            pack = []
        pack.append(example)
    if pack:
        yield pack


def packed_losses(model: Any, pack: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of every answer token of a pack: one row without padding, and logits only where they are needed.

    The examples lie behind each other in one row. Positions that start again at 0 tell transformers where one ends;
    that holds only without an attention mask and without a cache, else they would see each other.

    Returns:
        Losses in nats, shape [answer tokens], and for each the index of its example in the pack, same shape.
    """
    ids: list[int] = []
    positions: list[int] = []
    predicting: list[int] = []
    owners: list[int] = []
    for owner, (example, answer_start) in enumerate(pack):
        offset = len(ids)
        ids += example
        positions += range(len(example))
        predicting += range(offset + answer_start - 1, offset + len(example) - 1)
        owners += [owner] * (len(example) - answer_start)
    where = torch.tensor(predicting)
    row = torch.tensor([ids])
    logits = model(input_ids=row, position_ids=torch.tensor([positions]), use_cache=False, logits_to_keep=where).logits[
        0
    ]
    losses = torch.nn.functional.cross_entropy(logits.float(), row[0, where + 1], reduction="none")
    return losses, torch.tensor(owners)


def _with_system(messages: Messages, system: str) -> list[dict[str, str]]:
    plain = [{"role": message["role"], "content": message["content"]} for message in messages]
    if system and (not plain or plain[0]["role"] != "system"):
        return [{"role": "system", "content": system}, *plain]
    return plain


def _render(tokenizer: Any, messages: list[dict[str, str]], generation_prompt: bool) -> str:
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation_prompt)
    return text


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def _closed(answer: list[int], end: int) -> list[int]:
    """Cut behind the last `end`; templates may put a line break after it."""
    if end not in answer:
        return [*answer, end]
    return answer[: len(answer) - answer[::-1].index(end)]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
