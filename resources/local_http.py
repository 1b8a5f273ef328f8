"""HTTP to servers on this machine with nothing but the standard library, so that assets stay light."""

import http.client
import json
import urllib.error
import urllib.request
from typing import Any, NamedTuple

Json = dict[str, Any]

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no business on loopback


class Reply(NamedTuple):
    """Status, headers (lower-case names) and body of an answer; status 0 means there was none."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is not."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None


def call(url: str, body: Json | None = None, timeout: float = 10.0, headers: dict[str, str] | None = None) -> Reply:
    """GET, or POST if there is a body. Never raises for what a server says or fails to say."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **(headers or {})})
    try:
        with _opener.open(request, timeout=timeout) as answer:
            return _reply(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return _reply(error.code, error.headers, error.read())
    except (OSError, http.client.HTTPException) as error:
        return Reply(0, {}, f"{type(error).__name__}: {error}")


def _reply(status: int, headers: Any, content: bytes) -> Reply:
    return Reply(status, {name.lower(): value for name, value in headers.items()}, content.decode("utf-8", "replace"))
