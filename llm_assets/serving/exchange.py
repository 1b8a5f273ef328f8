"""One request through the gateway: where it goes, what comes back, and the record of both."""

import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from llm_assets.serving import protocol
from llm_assets.serving.protocol import Json, RequestError
from resources.route import Route

BROKEN = (httpx.ConnectError, httpx.ConnectTimeout, httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""The backend did not take the request, or went away before its answer began."""
PROBE = "x-probe"
"""Header of requests that the platform itself makes; their records say so."""


class Exchange:
    """Takes a request, chooses its route, forwards, and reports exactly one record at the end."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        current: Callable[[], Route | None],
        finished: Callable[[Json], None],
        request: Request,
    ) -> None:
        self.client, self.current, self.finished = client, current, finished
        self.probe = PROBE in request.headers
        self.started = time.perf_counter()
        self.id = uuid.uuid4().hex
        self.route: Route | None = None
        self.body: Json = {}
        self.messages: list[dict[str, str]] = []

    def accept(self, body: Json) -> None:
        """Check what the gateway itself reads and records; the backend checks the rest.

        Raises:
            RequestError: `messages` is missing or not a conversation in plain text.
        """
        self.messages = protocol.parse_messages(body)
        self.body = body

    async def forward(self) -> Response:
        """Ask the backend. If it breaks before it answers, or no longer knows the model, the route is read again
        and the request goes out once more: a switch may have come in between.

        Raises:
            RequestError: no route (503), an unknown model's name (404), or no answer (502, 504).
        """
        answer = await self._send()
        if answer is None or (answer.status_code == 404 and self.route != self.current()):
            if answer is not None:
                await answer.aclose()
            answer = await self._send(last=True)
        assert answer is not None  # the last try raises instead
        if "text/event-stream" in answer.headers.get("content-type", ""):
            return StreamingResponse(self._stream(answer), headers=self.headers, media_type="text/event-stream")
        return await self._whole(answer)

    @property
    def headers(self) -> dict[str, str]:
        """What every answer carries."""
        named = {"x-release": self.route.release, "x-release-name": self.route.name} if self.route else {}
        return {"x-request-id": self.id, **named}

    def refuse(self, error: RequestError) -> Response:
        """An error instead of an answer, recorded."""
        self._record(error.status, error=str(error))
        response = error.response()
        response.headers.update(self.headers)
        return response

    async def _send(self, last: bool = False) -> httpx.Response | None:
        """The backend's response, its body unread; None if a second try makes sense."""
        self.route = route = self.current()
        if route is None:
            raise RequestError(503, "no release serves yet; deploy one first.", "no_release", "server_error")
        request = self.client.build_request("POST", f"{route.backend}/v1/chat/completions", json=self._addressed(route))
        try:
            return await self.client.send(request, stream=True)
        except BROKEN as error:
            if not last:
                return None
            raise RequestError(502, _unreachable(route, error), "backend_down", "server_error") from error
        except httpx.HTTPError as error:
            raise _no_answer(route, error) from error

    def _addressed(self, route: Route) -> Json:
        """The request as the backend gets it: its name of the model, and the release's system prompt."""
        model = self.body.get("model") or route.line
        if model not in (route.line, route.name, route.model):
            message = f"the model {model!r} does not serve here; ask for {route.line!r} or {route.name!r}."
            raise RequestError(404, message, protocol.MODEL_NOT_FOUND, "NotFoundError")
        messages = self.messages
        if route.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": route.system}, *messages]
        return {**self.body, "model": route.model, "messages": messages}

    async def _whole(self, answer: httpx.Response) -> Response:
        assert self.route is not None
        try:
            content = await answer.aread()
        except httpx.HTTPError as error:
            raise _no_answer(self.route, error) from error
        finally:
            await answer.aclose()
        text, usage, problem = _read(content)
        self._record(answer.status_code, answer=text, usage=usage, error=problem)
        media_type = answer.headers.get("content-type", "application/json")
        return Response(content, status_code=answer.status_code, headers=self.headers, media_type=media_type)

    async def _stream(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        assert self.route is not None
        status, problem, pieces, rest = 499, "the client left", [], b""
        try:
            async for block in answer.aiter_raw():
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    text, failure, done = _read_event(line)
                    pieces.append(text)
                    if failure or (done and status == 499):
                        status, problem = (502, failure) if failure else (200, "")
                yield block
            if status == 499:
                status, problem = 502, "the backend ended the stream early"
        except httpx.HTTPError as error:
            refusal = _no_answer(self.route, error)
            status, problem = refusal.status, str(refusal)
            yield protocol.event(refusal.body()) + protocol.DONE
        finally:
            await answer.aclose()
            self._record(status, answer="".join(pieces), error=problem)

    def _record(self, status: int, answer: str = "", usage: Json | None = None, error: str = "") -> None:
        route = self.route
        self.finished(
            {
                "id": self.id,
                "release": route.release if route else "",
                "name": route.name if route else "",
                "status": status,
                "seconds": round(time.perf_counter() - self.started, 6),
                "messages": self.messages,
                "answer": answer,
                "usage": usage or {},
                "stream": self.body.get("stream") is True,
                "probe": self.probe,
                "error": error,
            }
        )


def _unreachable(route: Route, error: Exception) -> str:
    return f"{route.name} can't be reached at {route.backend} ({type(error).__name__}); deploy it again."


def _no_answer(route: Route, error: httpx.HTTPError) -> RequestError:
    if isinstance(error, httpx.PoolTimeout):
        return RequestError(503, "too many requests are under way; ask again later.", "overloaded", "server_error")
    if isinstance(error, httpx.TimeoutException):
        return RequestError(504, f"{route.name} took too long to answer.", "backend_timeout", "server_error")
    return RequestError(502, _unreachable(route, error), "backend_down", "server_error")


def _read(content: bytes) -> tuple[str, Json, str]:
    """Answer, usage and error message of a backend's JSON body."""
    try:
        value: Any = json.loads(content)
        if "error" in value:
            return "", {}, str(value["error"].get("message", ""))
        return str(value["choices"][0]["message"]["content"]), value.get("usage") or {}, ""
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return "", {}, "the backend's answer has not the shape of a chat completion"


def _read_event(line: bytes) -> tuple[str, str, bool]:
    """Text, error message and whether it is the end, of one line of an event stream."""
    data = line.strip().removeprefix(b"data:").strip()
    if data == b"[DONE]":
        return "", "", True
    if not line.startswith(b"data:"):
        return "", "", False
    try:
        value: Any = json.loads(data)
        if "error" in value:
            return "", str(value["error"].get("message", "")), False
        return str(value["choices"][0]["delta"].get("content") or ""), "", False
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return "", "", False
