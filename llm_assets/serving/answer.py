"""One answer on its way from the engine to its client, whole or as a stream."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from llm_assets.serving import protocol
from llm_assets.serving.decoding import Generation, Progress
from llm_assets.serving.protocol import Json, RequestError

Steps = asyncio.Queue[Progress]


class Answer:
    """One answer on its way to its client; if the client leaves, the engine stops working on it."""

    def __init__(
        self, model: str, generation: Generation, progress: Steps, finished: Callable[[int, Json], None]
    ) -> None:
        self.model, self.generation, self.progress, self.finished = model, generation, progress, finished
        self.id = uuid.uuid4().hex

    async def whole(self, request: Request) -> Response:
        """The answer in one piece."""
        end = asyncio.ensure_future(self._end())
        gone = asyncio.ensure_future(_disconnected(request))
        await asyncio.wait({end, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not end.done():
            end.cancel()
            self.generation.cancelled = True
            self._count(499, 0)
            return Response(status_code=499)  # nobody reads it
        last = end.result()
        if last.error:
            self._count(500, 0)
            return _failed(last).response()
        usage = self._count(200, last.tokens)
        return JSONResponse(protocol.completion(self.id, self.model, last.whole, last.reason, usage))

    async def stream(self, include_usage: bool) -> AsyncIterator[bytes]:
        """The answer as server-sent events."""
        code, tokens = 499, 0
        try:
            yield protocol.event(protocol.chunk(self.id, self.model, {"role": "assistant", "content": ""}))
            while True:
                step = await self.progress.get()
                if step.error:
                    code = 500
                    yield protocol.event(_failed(step).body())
                    break
                if step.text:
                    yield protocol.event(protocol.chunk(self.id, self.model, {"content": step.text}))
                if step.reason:
                    code, tokens = 200, step.tokens
                    last = protocol.chunk(self.id, self.model, {}, step.reason)
                    usage = {"usage": protocol.usage(len(self.generation.ids), tokens)} if include_usage else {}
                    yield protocol.event({**last, **usage})
                    break
            yield protocol.DONE
        finally:
            self.generation.cancelled = True
            self._count(code, tokens)

    async def _end(self) -> Progress:
        while True:
            step = await self.progress.get()
            if step.reason or step.error:
                return step

    def _count(self, code: int, tokens: int) -> Json:
        usage = protocol.usage(len(self.generation.ids), tokens)
        self.finished(code, usage)
        return usage


def _failed(step: Progress) -> RequestError:
    return RequestError(500, f"the model failed: {step.error}", "engine_error", "server_error")


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
