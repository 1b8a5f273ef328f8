"""The embedded serving runtime: one base model, many adapters, vLLM's HTTP API, this machine only.

    python -m llm_assets.serving.runtime --base FOLDER --adapters ROOT --port 8200

Adapters come and go through `/v1/load_lora_adapter` and `/v1/unload_lora_adapter`; the model's name in a request
chooses one. Which release that is, and its system prompt, is the gateway's business.
"""

import asyncio
import os
import time
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from llm_assets import language_model
from llm_assets.serving import protocol
from llm_assets.serving.answer import Answer, Steps
from llm_assets.serving.decoding import Generation, Progress, Sampling
from llm_assets.serving.engine import Engine
from llm_assets.serving.metrics import CONTENT_TYPE, Histogram, Metric, exposition
from llm_assets.serving.protocol import ChatRequest, Json, RequestError
from llm_assets.serving.server import add_address, run
from resources.errors import ModelError, ServingError

AdapterName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class AdapterRequest(BaseModel):
    """Body of both adapter calls."""

    model_config = ConfigDict(extra="ignore")

    lora_name: AdapterName
    lora_path: str = ""


class Runtime:
    """The HTTP side of an engine."""

    def __init__(self, engine: Engine, base_name: str, roots: list[Path]) -> None:
        self.engine, self.base_name = engine, base_name
        self.roots = [root.resolve() for root in roots]
        self.started = int(time.time())
        # Encoding must not hold up the event loop, and a tokenizer of its own needs no lock.
        self.tokenizer = language_model.load_tokenizer(engine.base)
        self.encoder = ThreadPoolExecutor(1, "encoder")
        self.requests = Metric("llm_runtime_requests_total", "counter", "Chat requests.", ("model", "code"))
        self.tokens = Metric("llm_runtime_tokens_total", "counter", "Tokens read and written.", ("kind",))
        self.seconds = Histogram("llm_runtime_request_seconds", "Time to the end of an answer.", ("model",))
        self.waiting = Metric("llm_runtime_waiting_requests", "gauge", "Requests in the queue.")
        self.loaded = Metric("llm_runtime_adapters", "gauge", "Adapters that are loaded.")

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/models", self.models),
                Route("/v1/load_lora_adapter", self.load, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self.unload, methods=["POST"]),
                Route("/health", self.health),
                Route("/metrics", self.metrics),
            ],
            exception_handlers={RequestError: _refuse},
        )

    async def chat(self, request: Request) -> Response:
        """Answer a conversation, whole or as a stream."""
        started = time.perf_counter()
        model = "unknown"
        try:
            chat = protocol.parse_chat(await protocol.read_json(request))
            adapter = self._adapter(chat.model)
            model = chat.model or self.base_name
            ids = await self._encode(chat)
            progress: Steps = asyncio.Queue()
            generation = self._submit(chat, adapter, ids, progress)
        except RequestError as error:
            self.requests.add(model=model, code=str(error.status))
            raise
        answer = Answer(model, generation, progress, lambda *figures: self._finished(model, started, *figures))
        if chat.stream:
            include_usage = bool(chat.stream_options.get("include_usage"))
            return StreamingResponse(answer.stream(include_usage), media_type="text/event-stream")
        return await answer.whole(request)

    async def models(self, _request: Request) -> Response:
        """The base model and every adapter."""

        def entry(name: str, root: Path, parent: str | None) -> Json:
            head = {"id": name, "object": "model", "created": self.started, "owned_by": "llm-assets"}
            return {**head, "root": str(root), "parent": parent}

        adapters = [entry(name, folder, self.base_name) for name, folder in list(self.engine.adapters.items())]
        return JSONResponse({"object": "list", "data": [entry(self.base_name, self.engine.base, None), *adapters]})

    async def load(self, request: Request) -> Response:
        """Load an adapter; loading the same one under the same name again is fine."""
        wanted = _adapter_request(await protocol.read_json(request))
        folder = self._inside(wanted.lora_path)
        present = self.engine.adapters.get(wanted.lora_name)
        if present == folder:
            return PlainTextResponse(f"Success: LoRA adapter '{wanted.lora_name}' was loaded before.")
        if present is not None or wanted.lora_name == self.base_name:
            taken = f"the name {wanted.lora_name!r} is taken by {present or 'the base model'}."
            raise RequestError(400, taken, "name_taken")
        try:
            await asyncio.wrap_future(self.engine.load(wanted.lora_name, folder))
        except ModelError as error:
            raise RequestError(400, str(error), "invalid_adapter") from error
        return PlainTextResponse(f"Success: LoRA adapter '{wanted.lora_name}' added successfully.")

    async def unload(self, request: Request) -> Response:
        """Drop an adapter, after the requests that wait for it."""
        wanted = _adapter_request(await protocol.read_json(request))
        try:
            await asyncio.wrap_future(self.engine.unload(wanted.lora_name))
        except ModelError as error:
            raise RequestError(404, str(error), "adapter_not_found") from error
        return PlainTextResponse(f"Success: LoRA adapter '{wanted.lora_name}' removed successfully.")

    async def health(self, _request: Request) -> Response:
        """200 while the engine works."""
        state = {"status": "ok" if self.engine.alive else "dead", "pid": os.getpid()}
        return JSONResponse(state, status_code=200 if self.engine.alive else 503)

    async def metrics(self, _request: Request) -> Response:
        """Prometheus's page."""
        self.waiting.set(self.engine.waiting)
        self.loaded.set(len(self.engine.adapters))
        page = exposition([self.requests, self.tokens, self.seconds, self.waiting, self.loaded])
        return PlainTextResponse(page, media_type=CONTENT_TYPE)

    def _finished(self, model: str, started: float, code: int, usage: Json) -> None:
        self.requests.add(model=model, code=str(code))
        self.seconds.observe(time.perf_counter() - started, model=model)
        self.tokens.add(usage["prompt_tokens"], kind="prompt")
        self.tokens.add(usage["completion_tokens"], kind="answer")

    def _adapter(self, model: str) -> str:
        if model in ("", self.base_name):
            return ""
        if model not in self.engine.adapters:
            unknown = f"the model {model!r} is not loaded; see /v1/models."
            raise RequestError(404, unknown, protocol.MODEL_NOT_FOUND, "NotFoundError")
        return model

    async def _encode(self, chat: ChatRequest) -> list[int]:
        messages = [message.model_dump() for message in chat.messages]
        loop = asyncio.get_running_loop()
        ids = await loop.run_in_executor(self.encoder, language_model.encode_chat, self.tokenizer, messages, "")
        if len(ids) + chat.max_tokens > self.engine.context_length:
            raise RequestError(
                400,
                f"{len(ids)} prompt tokens and max_tokens {chat.max_tokens} exceed the model's "
                f"{self.engine.context_length}; send less or lower max_tokens.",
                "context_length_exceeded",
            )
        return ids

    def _submit(self, chat: ChatRequest, adapter: str, ids: list[int], progress: Steps) -> Generation:
        loop = asyncio.get_running_loop()

        def emit(step: Progress) -> None:
            loop.call_soon_threadsafe(progress.put_nowait, step)

        generation = Generation(
            ids=ids,
            adapter=adapter,
            max_tokens=chat.max_tokens,
            sampling=Sampling(chat.temperature, chat.top_p, chat.seed),
            emit=emit,
            stop=tuple(chat.stop),
        )
        try:
            self.engine.submit(generation)
        except ServingError as error:
            raise RequestError(429, str(error), "overloaded", "rate_limit_error") from error
        return generation

    def _inside(self, path: str) -> Path:
        """The real folder of an adapter, which must lie below an allowed root, whatever links lead there."""
        try:
            folder = Path(path).resolve(strict=True)
            real = [folder, *(file.resolve() for file in folder.rglob("*"))]
        except (OSError, ValueError, RuntimeError) as error:
            raise RequestError(400, f"lora_path {path!r} can't be read.", "invalid_adapter") from error
        if not any(all(file.is_relative_to(root) and file != root for file in real) for root in self.roots):
            outside = f"lora_path {path!r} is outside the folders adapters may come from."
            raise RequestError(400, outside, "invalid_adapter")
        return folder


def _adapter_request(value: Json) -> AdapterRequest:
    try:
        return AdapterRequest.model_validate(value)
    except ValidationError as error:
        raise RequestError(400, protocol.explain(error), "invalid_value") from error


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error.response()


def main() -> None:
    """Load the base model, then serve."""
    parser = ArgumentParser(prog="python -m llm_assets.serving.runtime", description=__doc__.partition("\n")[0])
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model, safetensors")
    parser.add_argument("--adapters", type=Path, action="append", default=[], help="a folder adapters may come from")
    parser.add_argument("--served-model-name", default="base", help="what requests call the base model")
    parser.add_argument("--max-num-seqs", type=int, default=8, help="requests that go through the model together")
    add_address(parser)
    arguments = parser.parse_args()
    try:
        engine = Engine(arguments.base, arguments.max_num_seqs)
    except ModelError as error:
        raise SystemExit(str(error)) from error
    run(Runtime(engine, arguments.served_model_name, arguments.adapters).app(), arguments)


if __name__ == "__main__":
    main()
