"""A chat endpoint that judges: OpenAI's chat API, wherever it runs. How it is asked; what it is asked lies elsewhere.

Where it is and its key come from the environment only. The key travels in one request header, and is taken out of
whatever comes back: it is in no record, log line or exception. Answers that can be read are kept in the artifact store
under the digest of the whole request, so that nothing is asked twice.
"""

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from resources.errors import JudgeError, StoreError
from resources.store import ArtifactStore, digest_of

URL, KEY, MODEL = "LLM_JUDGE_URL", "LLM_JUDGE_API_KEY", "LLM_JUDGE_MODEL"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
GIVE_UP_AFTER = 8
"""Requests in a row without an answer; the rest of the run asks nothing, so that a dead endpoint costs minutes."""
LARGEST_ANSWER = 1 << 20
"""Bytes."""
LONGEST_WAIT = 30.0
"""Seconds between two attempts, whatever the endpoint wishes."""

Json = dict[str, Any]
Readable = Callable[[str], bool]


@dataclass(frozen=True)
class Endpoint:
    """Where the judge is, and which model it is."""

    url: str
    """Up to the version, for example `https://host/v1`; holds no credentials."""
    model: str
    key: str = field(default="", repr=False)

    @classmethod
    def from_env(cls, model: str, environ: Mapping[str, str] = os.environ) -> "Endpoint":
        """Read `LLM_JUDGE_URL`, `LLM_JUDGE_API_KEY` and `LLM_JUDGE_MODEL`, which goes before the line's model.

        Raises:
            JudgeError: no address, one that may hold a secret, no model, or a key that no header can carry.
        """
        url = (environ.get(URL) or "").strip().rstrip("/")
        if not url:
            raise JudgeError(
                f"{URL} is not set, but a line's evaluation.judge is of kind openai; set it to the endpoint's address "
                "up to its version, such as http://127.0.0.1:8000/v1, or choose kind embedding."
            )
        if not _is_plain(url):  # its value is not repeated: it may hold a password
            raise JudgeError(
                f"{URL} must look like http(s)://host[:port][/path], without user, query or fragment; "
                f"a key belongs into {KEY}."
            )
        key = (environ.get(KEY) or "").strip()
        if not all("!" <= character <= "~" for character in key):
            raise JudgeError(f"{KEY} holds a blank or a character beyond ASCII, which no header carries; set it again.")
        chosen = (environ.get(MODEL) or "").strip() or model
        if not chosen:
            raise JudgeError(f"the judge's model has no name; set evaluation.judge.model in the line, or {MODEL}.")
        return cls(url, chosen, key)


def _is_plain(url: str) -> bool:
    import httpx

    try:
        parts = urlsplit(url)
        _ = parts.port, (parts.hostname or "").encode("idna")  # both raise what a connection would raise later
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        return False
    return bool(
        parts.scheme in ("http", "https")
        and parts.hostname
        and "@" not in parts.netloc
        and not set("?# \\") & set(url)
        and url.isprintable()
    )


@dataclass(frozen=True)
class Patience:
    """How long and how hard an endpoint is asked."""

    timeout: float = 60.0
    """Seconds for one attempt, from the connection to the last byte."""
    retries: int = 2
    wait: float = 1.0
    """Seconds before the first retry; doubles with each."""
    concurrency: int = 4


class Answer(NamedTuple):
    """What came back for one request."""

    text: str | None
    """None if nothing did."""
    problem: str = ""
    """Why, in a few words."""


class _Attempt(NamedTuple):
    answer: Answer
    again: bool = False
    after: float = 0.0
    """Seconds that the endpoint asks to wait."""


class ChatClient:
    """Asks one endpoint, many requests at a time; remembers across batches that it is dead."""

    def __init__(self, endpoint: Endpoint, patience: Patience, store: ArtifactStore, version: str = "") -> None:
        self.endpoint = endpoint
        self.patience = patience
        self.store = store
        self.version = version
        self.asked = 0
        """Requests that were sent, retries not counted."""
        self._failed_in_a_row = 0
        self._useless: dict[str, Answer] = {}
        """What must not be kept, and must stay the same as long as this client is asked."""

    def ask(self, requests: Sequence[Json], readable: Readable = lambda _: True) -> list[Answer]:
        """The answers, in order; never raises for what the endpoint does.

        Args:
            requests: bodies of chat completions without their model.
            readable: whether a text is of use. One that is not is handed back, as is none, but another client asks
                again.

        Raises:
            StoreError: the cache can't be written.
        """
        bodies = [{"model": self.endpoint.model, **request} for request in requests]
        keys = [self._cache_key(body) for body in bodies]
        known = {key: self._useless.get(key) or self._cached(key, readable) for key in set(keys)}
        missing = {key: body for key, body in zip(keys, bodies, strict=True) if known[key] is None}
        if missing:
            known |= dict(zip(missing, asyncio.run(self._ask_all(missing, readable)), strict=True))
        return [known[key] or Answer(None, "not asked") for key in keys]

    def _cache_key(self, body: Json) -> str:
        return digest_of({"judge": self.endpoint.url, "version": self.version, "request": body})

    def _cached(self, key: str, readable: Readable) -> Answer | None:
        digest = self.store.get_result(key)
        try:
            text = None if digest is None else str(self.store.get_record(digest)["answer"])
        except (StoreError, KeyError, ValueError):  # gone or broken: ask again
            return None
        return None if text is None or not readable(text) else Answer(text)

    def _keep(self, key: str, answer: Answer, readable: Readable) -> None:
        if answer.text is not None and readable(answer.text):
            self.store.put_result(key, self.store.put_record({"answer": answer.text}))
        else:
            self._useless[key] = answer

    async def _ask_all(self, bodies: Mapping[str, Json], readable: Readable) -> list[Answer]:
        import httpx
        from tqdm import tqdm

        headers = {"accept-encoding": "identity"}
        if self.endpoint.key:
            headers["authorization"] = f"Bearer {self.endpoint.key}"
        here = urlsplit(self.endpoint.url).hostname in LOOPBACK  # a proxy has no business there
        turn = asyncio.Semaphore(self.patience.concurrency)
        bar = tqdm(total=len(bodies), desc=f"judge {self.endpoint.model}", unit="answer", mininterval=1)
        # No time-out of httpx's own: it would start anew with every byte.
        client = httpx.AsyncClient(headers=headers, timeout=None, follow_redirects=False, trust_env=not here)

        async def one(key: str, body: Json) -> Answer:
            async with turn:
                answer = await self._ask(client, body)
            bar.update()
            self._keep(key, answer, readable)
            return answer

        with bar:
            async with client:
                return await asyncio.gather(*(one(key, body) for key, body in bodies.items()))

    async def _ask(self, client: Any, body: Json) -> Answer:
        """One request with its retries."""
        if self._failed_in_a_row >= GIVE_UP_AFTER:
            return Answer(None, f"not asked, because {GIVE_UP_AFTER} requests in a row got no answer")
        self.asked += 1
        wait = self.patience.wait
        for left in reversed(range(self.patience.retries + 1)):
            attempt = await self._attempt(client, body)
            if not (attempt.again and left):
                break
            await asyncio.sleep(min(max(wait, attempt.after), LONGEST_WAIT))
            wait *= 2
        self._failed_in_a_row = 0 if attempt.answer.text is not None else self._failed_in_a_row + 1
        return attempt.answer

    async def _attempt(self, client: Any, body: Json) -> _Attempt:
        import httpx

        try:
            async with (
                asyncio.timeout(self.patience.timeout),
                client.stream("POST", f"{self.endpoint.url}/chat/completions", json=body) as response,
            ):
                content = await _read(response)
        except (TimeoutError, httpx.TimeoutException):
            return _Attempt(Answer(None, f"no answer within {self.patience.timeout:g} s"), again=True)
        except httpx.HTTPError as error:  # its text may name hosts and headers; its type says enough
            return _Attempt(Answer(None, f"no connection ({type(error).__name__})"), again=True)
        status = response.status_code
        if status != 200:
            again = status in (408, 429) or status >= 500
            return _Attempt(Answer(None, f"HTTP status {status}"), again, _seconds(response.headers.get("retry-after")))
        text = _content_of(content)
        if text is None:
            return _Attempt(Answer(None, "the answer is no chat completion"))
        return _Attempt(Answer(self._without_key(text)))

    def _without_key(self, text: str) -> str:
        """An endpoint that repeats the key must not bring it into a report."""
        return text.replace(self.endpoint.key, "[key]") if self.endpoint.key else text


async def _read(response: Any) -> bytes:
    """The body; of an endless one the start, which then is no JSON."""
    content = b""
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > LARGEST_ANSWER:
            break
    return content


def _content_of(body: bytes) -> str | None:
    """The text of a chat completion's first choice."""
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else None


def _seconds(header: str | None) -> float:
    return float(header) if header and header.isdecimal() else 0.0
