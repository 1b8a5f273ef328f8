"""Child process: a GGUF file to a folder of safetensors with tokenizer and chat template."""

import os
from pathlib import Path

from dagster_pipes import PipesContext

from llm_assets.child import Json, serve
from resources.errors import ModelError


def convert(request: Json, pipes: PipesContext) -> Json:
    """Read `gguf`, write into `folder`; once per base model, for loading safetensors takes seconds, not minutes."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    import transformers

    source, folder = Path(request["gguf"]), Path(request["folder"])
    pipes.log.info(f"converting {source.name} to safetensors, once")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            source.parent, gguf_file=source.name, local_files_only=True, trust_remote_code=False
        )
        model = transformers.AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=torch.float32, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{source} can't be read as GGUF ({' '.join(str(error).split())[:300]}).") from error
    # What was read is plain fp32; these say otherwise, and saving refuses while they do.
    for attribute in ("hf_quantizer", "is_quantized", "quantization_method"):
        if hasattr(model, attribute):
            setattr(model, attribute, None)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    # GGUF names the ends of a text by number; the converted tokenizer guesses, and not always the same.
    end = model.config.eos_token_id
    if end is not None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end[0] if isinstance(end, list) else end)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"folder": str(folder)}


if __name__ == "__main__":
    serve(convert)
