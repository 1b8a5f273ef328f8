"""One question to a server that speaks OpenAI's chat API on this machine."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from resources.errors import ServingError
from resources.local_http import Reply, call

Messages = Sequence[Mapping[str, str]]

ANSWER_SECONDS = 180.0


def chat(url: str, body: dict[str, Any]) -> tuple[Reply, float]:
    """Ask, marked as the platform's own question in the gateway's records; returns the reply and its seconds."""
    started = time.perf_counter()
    reply = call(f"{url}/v1/chat/completions", body, timeout=ANSWER_SECONDS, headers={"x-probe": "1"})
    return reply, time.perf_counter() - started


def answer_of(url: str, reply: Reply) -> str:
    """The answer's text.

    Raises:
        ServingError: the reply is an error or none at all.
    """
    try:
        return str(reply.json["choices"][0]["message"]["content"])
    except (KeyError, IndexError, TypeError) as error:
        raise ServingError(f"{url} did not answer: {problem_of(reply)}") from error


def problem_of(reply: Reply) -> str:
    """What a server said instead of an answer."""
    body = reply.json
    message = body["error"].get("message") if isinstance(body, dict) and isinstance(body.get("error"), dict) else None
    return f"{message or reply.text[:300]} (status {reply.status})"
