"""The OpenAI chat API as both servers speak it: requests, answers, stream events and errors.

Shapes follow https://platform.openai.com/docs/api-reference/chat; only what is served here is listed. Nothing here
knows a model or a release.
"""

import json
import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse

MAXIMUM_BODY = 256 * 1024
"""Bytes of a request."""
MAXIMUM_TOKENS = 512
"""Of one answer."""
MODEL_NOT_FOUND = "model_not_found"
"""Error code of a model's name that is not served."""

Json = dict[str, Any]


class RequestError(Exception):
    """The client's request can't be served; becomes an OpenAI error with its HTTP status."""

    def __init__(self, status: int, message: str, code: str, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status, self.code, self.kind = status, code, kind

    def body(self) -> Json:
        """The error as the API spells it."""
        return {"error": {"message": str(self), "type": self.kind, "param": None, "code": self.code}}

    def response(self) -> JSONResponse:
        """The error as an HTTP answer."""
        return JSONResponse(self.body(), status_code=self.status)


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "user", "assistant"]
    content: str

    @field_validator("content", mode="before")
    @classmethod
    def _join_text_parts(cls, value: Any) -> Any:
        if isinstance(value, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in value):
            return "".join(str(part.get("text", "")) for part in value)
        return value


Messages = Annotated[list[Message], Field(min_length=1, max_length=256)]


class ChatRequest(BaseModel):
    """A request for one answer. Keys that are not listed are ignored, as clients send many."""

    model_config = ConfigDict(extra="ignore")

    model: str = ""
    messages: Messages
    max_tokens: Annotated[int, Field(ge=1, le=MAXIMUM_TOKENS)] = 128
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.0
    """0 is greedy, and the default: what is measured before a release is what is served."""
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    n: Literal[1] = 1
    stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=4)] = []
    stream: bool = False
    stream_options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _spellings(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        given = {key: content for key, content in value.items() if content is not None}
        if "max_completion_tokens" in given:
            given.setdefault("max_tokens", given["max_completion_tokens"])
        if isinstance(given.get("stop"), str):
            given["stop"] = [given["stop"]]
        return given

    @field_validator("messages")
    @classmethod
    def _ends_with_a_question(cls, value: list[Message]) -> list[Message]:
        if value[-1].role == "assistant":
            raise ValueError("the last message must be the user's")
        return value


_MESSAGES = TypeAdapter(Messages)


async def read_json(request: Request, limit: int = MAXIMUM_BODY) -> Json:
    """The JSON object of a request's body; reading stops as soon as the body is too large.

    Raises:
        RequestError: too large (413), or not a JSON object (400).
    """
    too_large = RequestError(413, f"the request is larger than {limit} bytes.", "request_too_large")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    try:
        value = json.loads(body)
        # Python reads NaN, 1e999 and half a surrogate pair, none of which can be passed on or recorded.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "the request's body is not JSON.", "invalid_json") from error
    if not isinstance(value, dict):
        raise RequestError(400, "the request's body must be a JSON object.", "invalid_json")
    return value


def parse_chat(value: Json) -> ChatRequest:
    """Check a chat request.

    Raises:
        RequestError: 400, names every wrong key with what is allowed.
    """
    try:
        return ChatRequest.model_validate(value)
    except ValidationError as error:
        raise RequestError(400, explain(error), "invalid_value") from error


def parse_messages(value: Json) -> list[dict[str, str]]:
    """The messages of a request, each with a role and plain text.

    Raises:
        RequestError: 400, names every wrong key with what is allowed.
    """
    try:
        messages = _MESSAGES.validate_python(value.get("messages"))
    except ValidationError as error:
        raise RequestError(400, f"messages: {explain(error)}", "invalid_value") from error
    return [message.model_dump() for message in messages]


def explain(error: ValidationError) -> str:
    """A validation error as one sentence."""
    problems = [f"{'.'.join(map(str, one['loc'])) or 'request'}: {one['msg']}" for one in error.errors()[:5]]
    return "; ".join(problems) + "."


def completion(request_id: str, model: str, text: str, reason: str, usage: Json) -> Json:
    """A whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
    head = {"id": f"chatcmpl-{request_id}", "object": "chat.completion", "created": int(time.time()), "model": model}
    return {**head, "choices": [choice], "usage": usage}


def chunk(request_id: str, model: str, delta: Json, reason: str | None = None) -> Json:
    """One piece of a streamed answer."""
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    head = {"id": f"chatcmpl-{request_id}", "object": "chat.completion.chunk", "created": int(time.time())}
    return {**head, "model": model, "choices": [choice]}


def usage(prompt: int, answer: int) -> Json:
    """Token counts."""
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def event(value: Json) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
