"""`python -m resources.reports`: the store's report pages over HTTP, so that the links in Dagster's UI open.

A browser follows no `file://` link from a page that it got over HTTP, and Dagster serves no files. This serves
`/reports/DIGEST/report.html` and `drift.html` on 127.0.0.1, read-only, and nothing else. `make ui` runs it.
"""

import re
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from resources.errors import StoreError
from resources.settings import Settings
from resources.store import Artifact, ArtifactStore

PAGE = re.compile(r"/reports/(?P<digest>[0-9a-f]{64})/(?P<name>report|drift)\.html")
"""All that is ever served. Names of trees are digests, so no path that a client writes reaches the disk."""
HEADERS = {
    "content-type": "text/html; charset=utf-8",
    # Pages show what models and strangers wrote: should escaping ever fail, the browser still runs and loads nothing.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox",
    "x-content-type-options": "nosniff",
    "cache-control": "private, immutable, max-age=31536000",
}


class ReportServer(ThreadingHTTPServer):
    """The pages of one store on a port of this machine; 0 takes any that is free."""

    daemon_threads = True

    def __init__(self, store: ArtifactStore, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Pages)
        self.store = store

    def page(self, path: str, host: str) -> bytes | None:
        """What is at a path, if anything; another host name is another site's, pointed at this machine."""
        wanted = PAGE.fullmatch(path)
        if wanted is None or host.partition(":")[0] not in ("127.0.0.1", "localhost"):
            return None
        try:
            folder = self.store.path(Artifact(digest=wanted["digest"], files=0, size=0))
            file = folder / f"{wanted['name']}.html"
            return None if folder.is_symlink() or file.is_symlink() else file.read_bytes()
        except (StoreError, OSError):
            return None


class _Pages(BaseHTTPRequestHandler):
    server: ReportServer
    timeout = 10  # seconds that a connection may be silent

    def do_GET(self) -> None:
        """Answer with a page, or with 404 for everything else."""
        page = self.server.page(self.path, self.headers.get("host", ""))
        if page is None:
            self.send_error(HTTPStatus.NOT_FOUND, "no such report")
            return
        self.send_response(HTTPStatus.OK)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: Any) -> None:
        """Reading a report is no event."""


def main() -> None:
    """Serve until ended."""
    settings = Settings.from_env()
    try:
        server = ReportServer(ArtifactStore(settings.store_url, settings.home / "cache"), settings.reports_port)
    except OSError as error:
        port = f"port {settings.reports_port}: {error.strerror}"
        sys.exit(f"error: links to reports will not open ({port}); end what uses it, or set LLM_REPORTS_PORT.")
    server.serve_forever()


if __name__ == "__main__":
    main()
