"""The gateway of a line: the address users know, in front of whatever release serves.

    python -m llm_assets.serving.gateway --state FILE --records DIR --port 8100

It follows the route file, so a switch of releases drops no request: each request keeps the route it began with.
Every answer names its release in `x-release`, and every request is recorded with it. Deciding what serves is not its
business.
"""

import contextlib
import logging
import os
from argparse import ArgumentParser
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route as Endpoint

from llm_assets.serving import protocol
from llm_assets.serving.exchange import Exchange
from llm_assets.serving.metrics import CONTENT_TYPE, Histogram, Metric, exposition
from llm_assets.serving.protocol import Json, RequestError
from llm_assets.serving.request_records import RecordWriter
from llm_assets.serving.server import KEEP_ALIVE_SECONDS, add_address, run
from resources.errors import ServingError
from resources.route import Route, read_route

log = logging.getLogger(__name__)


class RouteFile:
    """The route, read again only when its file is another one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._refused: tuple[int, int, int] | None = None
        self._route: Route | None = None

    def current(self) -> Route | None:
        """What the file says now. One that can't be read changes nothing: what served goes on."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._seen, self._route = None, None
            return None
        seen = (status.st_mtime_ns, status.st_ino, status.st_size)
        if seen != self._seen:
            try:
                self._route, self._seen = read_route(self.path), seen
            except ServingError as error:  # perhaps for now only, as with too many open files: the next request tries
                if seen != self._refused:
                    log.error("%s", error)
                self._refused = seen
        return self._route


class Gateway:
    """Proxies the chat API to the route's backend."""

    def __init__(self, state: Path, records: Path, timeout: float = 120.0) -> None:
        self.route = RouteFile(state)
        self.records = RecordWriter(records)
        self.requests = Metric("llm_gateway_requests_total", "counter", "Chat requests.", ("release", "name", "code"))
        self.seconds = Histogram("llm_gateway_request_seconds", "Time to the end of an answer.", ("name",))
        self.serving = Metric("llm_gateway_route_info", "gauge", "The release that serves.", ("release", "name"))
        self.client = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout, connect=3.0),
            limits=httpx.Limits(max_connections=512, keepalive_expiry=KEEP_ALIVE_SECONDS / 3),
            trust_env=False,  # a proxy for the internet has no business between two local servers
        )

    def app(self) -> Starlette:
        """The ASGI application."""

        @contextlib.asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            yield
            await self.client.aclose()
            self.records.close()

        return Starlette(
            routes=[
                Endpoint("/v1/chat/completions", self.chat, methods=["POST"]),
                Endpoint("/v1/models", self.models),
                Endpoint("/live", self.live),
                Endpoint("/health", self.health),
                Endpoint("/metrics", self.metrics),
            ],
            lifespan=lifespan,
        )

    async def chat(self, request: Request) -> Response:
        """Pass a conversation to the release that serves, and record it."""
        exchange = Exchange(self.client, self.route.current, self._finished, request)
        try:
            exchange.accept(await protocol.read_json(request))
            return await exchange.forward()
        except RequestError as error:
            return exchange.refuse(error)

    async def models(self, _request: Request) -> Response:
        """What a request may name: the line, which moves on, or the release that serves now."""
        route = self.route.current()
        names = [] if route is None else [(route.line, route.name), (route.name, route.release)]
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "llm-assets", "root": root}
            for name, root in names
        ]
        return JSONResponse({"object": "list", "data": data})

    async def live(self, _request: Request) -> Response:
        """200 as long as this process answers, whatever its backend does."""
        return JSONResponse({"status": "ok", "pid": os.getpid()})

    async def health(self, _request: Request) -> Response:
        """200 if the release that serves can be reached, else 503 with the reason."""
        route = self.route.current()
        state: Json = {"status": "ok", "pid": os.getpid()}
        if route is None:
            return JSONResponse({**state, "status": "no release serves yet"}, status_code=503)
        state |= {"release": route.release, "name": route.name, "backend": route.backend}
        try:
            answer = await self.client.get(f"{route.backend}/health", timeout=3)
            reason = "" if answer.is_success else f"the backend says {answer.status_code}"
        except httpx.HTTPError as error:
            reason = f"the backend can't be reached ({type(error).__name__})"
        return JSONResponse({**state, "status": reason or "ok"}, status_code=503 if reason else 200)

    async def metrics(self, _request: Request) -> Response:
        """Prometheus's page."""
        self.serving.clear()
        if (route := self.route.current()) is not None:
            self.serving.set(1, release=route.release, name=route.name)
        page = exposition([self.requests, self.seconds, self.serving, self.records.written, self.records.lost])
        return PlainTextResponse(page, media_type=CONTENT_TYPE)

    def _finished(self, record: Json) -> None:
        self.requests.add(release=record["release"], name=record["name"], code=str(record["status"]))
        self.seconds.observe(record["seconds"], name=record["name"])
        self.records.put(record)


def main() -> None:
    """Serve until told to end."""
    parser = ArgumentParser(prog="python -m llm_assets.serving.gateway", description=__doc__.partition("\n")[0])
    parser.add_argument("--state", type=Path, required=True, help="the route file")
    parser.add_argument("--records", type=Path, required=True, help="folder of the hourly request records")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds an answer may take")
    add_address(parser)
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    run(Gateway(arguments.state, arguments.records, arguments.timeout).app(), arguments)


if __name__ == "__main__":
    main()
