"""A real language model that takes a second to make: a few Llama layers and a byte-level tokenizer of its own.

It is a folder of safetensors as any other, so a line's `base_model` can point to it.
"""

from collections.abc import Sequence
from pathlib import Path

SENTENCES = [
    "What is your favourite book? I like books about robots and the sea.",
    "Do you play football? Yes, I play football with my friends every week.",
    "Tell me about the weather. It is sunny today and it may rain tomorrow.",
    "How are you doing? I am doing great, thank you. How about you?",
    "user assistant system hello who what where when why how",
    "你好吗？ 我很好，谢谢你。",
]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tiny_model(
    folder: Path,
    seed: int = 0,
    *,
    width: int = 64,
    layers: int = 2,
    context: int = 512,
    vocabulary: int = 384,
    sentences: Sequence[str] = SENTENCES,
) -> Path:
    """Write the model and its tokenizer, which learns from the sentences, into `folder`; equal calls, equal bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([*sentences] * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        model_max_length=context,
    )
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
        initializer_range=0.1,
    )
    folder.mkdir(parents=True, exist_ok=True)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
