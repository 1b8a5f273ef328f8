"""The links to reports in Dagster's UI open, and lead to reports only."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.errors import SettingsError
from resources.local_http import call
from resources.reports import ReportServer
from resources.settings import Settings
from resources.store import Artifact, ArtifactStore

PAGE = "<!doctype html><title>Evaluation</title>"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")


@pytest.fixture
def tree(store: ArtifactStore) -> Artifact:
    return store.put_files({"report.html": PAGE.encode(), "gates.png": b"png"})


@pytest.fixture
def port(store: ArtifactStore) -> Iterator[int]:
    server = ReportServer(store, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def answer(port: int, target: bytes, host: bytes = b"127.0.0.1", method: bytes = b"GET") -> bytes:
    """The raw answer to a request that no well-behaved client would tidy up."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(method + b" " + target + b" HTTP/1.0\r\nHost: " + host + b"\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_the_address_that_the_platform_writes_down_opens_the_report(tmp_path: Path, port: int, tree: Artifact) -> None:
    settings = Settings.from_env({"LLM_HOME": str(tmp_path), "LLM_REPORTS_PORT": str(port)})
    reply = call(settings.report_url(tree.digest, "report.html"))
    assert (reply.status, reply.text) == (200, PAGE)
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in reply.headers["content-security-policy"]


def test_a_page_in_a_remote_store_is_fetched(tmp_path: Path) -> None:
    store = ArtifactStore("memory://reports-test", tmp_path / "cache")
    tree = store.put_files({"drift.html": PAGE.encode()})
    server = ReportServer(store, 0)
    try:
        assert server.page(f"/reports/{tree.digest}/drift.html", "localhost:1") == PAGE.encode()
    finally:
        server.server_close()


def test_nothing_but_reports_is_served(tmp_path: Path, port: int, tree: Artifact) -> None:
    (tmp_path / "report.html").write_text("secret")
    (tmp_path / "store/trees" / ("a" * 64)).symlink_to(tmp_path)
    name = tree.digest.encode()
    outside = os.fsencode(tmp_path / "report.html")
    targets = [
        b"/",
        b"/reports/",
        b"/reports/" + name,
        b"/reports/" + name + b"/",
        b"/reports/" + name + b"/gates.png",
        b"/reports/" + name + b"/MANIFEST.json",
        b"/reports/" + b"0" * 64 + b"/report.html",
        b"/reports/" + b"a" * 64 + b"/report.html",
        b"/reports/" + name + b"/../../../report.html",
        b"/reports/../../report.html",
        b"/reports/%2e%2e/%2e%2e/report.html",
        b"/reports/" + name + b"/..%2f..%2f..%2freport.html",
        b"/reports/" + name + b"/report.html%00.png",
        b"/reports/" + name + b"/report.html\x00",
        b"/reports/" + name.upper() + b"/report.html",
        outside,
        b"/reports/" + outside,
        b"file://" + outside,
    ]
    for target in targets:
        said = answer(port, target)
        assert said.split(b" ", 2)[1] in (b"400", b"404"), target
        assert b"secret" not in said, target


def test_a_page_that_was_replaced_by_a_link_to_another_file_is_not_served(
    tmp_path: Path, store: ArtifactStore, port: int, tree: Artifact
) -> None:
    page = store.path(tree) / "report.html"
    page.unlink()
    (tmp_path / "secret").write_text("secret")
    page.symlink_to(tmp_path / "secret")
    assert b" 404 " in answer(port, b"/reports/" + tree.digest.encode() + b"/report.html")


def test_other_sites_and_other_methods_are_refused(port: int, tree: Artifact) -> None:
    target = b"/reports/" + tree.digest.encode() + b"/report.html"
    assert b" 200 " in answer(port, target, b"localhost:3901")
    assert b" 404 " in answer(port, target, b"rebound.example")
    assert b" 404 " in answer(port, target, b"")
    for method in (b"POST", b"PUT", b"DELETE"):
        assert b" 501 " in answer(port, target, method=method)


def test_a_port_that_is_none_is_named() -> None:
    with pytest.raises(SettingsError, match="LLM_REPORTS_PORT is '80'"):
        Settings.from_env({"LLM_REPORTS_PORT": "80"})
