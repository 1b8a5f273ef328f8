"""An alert is written once, and reaches every address once, however often one of them refuses."""

import json
from pathlib import Path

import pytest

from resources.errors import NotificationError
from resources.notifier import ATTEMPTS, Alert, Notifier

GOOD, BAD = "json://good.example/secret", "json://bad.example/secret"


class Post:
    """Takes what is sent, except from addresses that are down."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.taken: list[tuple[str, str]] = []

    def send(self, url: str, title: str, text: str) -> bool:
        if url in self.down:
            return False
        self.taken.append((url, title))
        return True


@pytest.fixture
def post() -> Post:
    return Post()


def alert(name: str, line: str = "a") -> Alert:
    return Alert(id=name, line=line, title=f"title {name}", text="text")


def test_an_alert_is_written_once_whoever_writes_it(tmp_path: Path, post: Post) -> None:
    for _ in range(2):  # a new process each time
        notifier = Notifier(tmp_path / "alerts.jsonl", [GOOD], post.send)
        new = notifier.write([alert("1"), alert("1")])
        notifier.deliver("a")
    assert new == []
    [written] = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    assert (written["id"], written["line"], written["title"]) == ("1", "a", "title 1")
    assert post.taken == [(GOOD, "title 1")]


def test_an_address_that_refuses_is_tried_again_without_repeating_the_others(tmp_path: Path, post: Post) -> None:
    post.down = {BAD}
    notifier = Notifier(tmp_path / "alerts.jsonl", [GOOD, BAD], post.send)
    notifier.write([alert("1"), alert("2")])
    [problem] = notifier.deliver("a")
    assert "2 wait" in problem
    assert "secret" not in problem
    assert post.taken == [(GOOD, "title 1"), (GOOD, "title 2")]
    post.down = set()
    again = Notifier(tmp_path / "alerts.jsonl", [GOOD, BAD], post.send)
    assert again.deliver("a") == []
    assert post.taken[2:] == [(BAD, "title 1"), (BAD, "title 2")]
    assert again.deliver("a") == []
    assert len(post.taken) == 4


def test_addresses_are_not_told_of_what_happened_before_they_were_added(tmp_path: Path, post: Post) -> None:
    Notifier(tmp_path / "alerts.jsonl", [], post.send).write([alert("old")])
    notifier = Notifier(tmp_path / "alerts.jsonl", [GOOD], post.send)
    notifier.write([alert("new")])
    notifier.deliver("a")
    assert post.taken == [(GOOD, "title new")]


def test_lines_deliver_their_own_alerts_and_no_password_is_written(tmp_path: Path, post: Post) -> None:
    notifier = Notifier(tmp_path / "alerts.jsonl", [GOOD], post.send)
    notifier.write([alert("1", "a"), alert("2", "b")])
    notifier.deliver("b")
    assert post.taken == [(GOOD, "title 2")]
    assert not any("secret" in path.read_text() for path in tmp_path.iterdir())


def test_a_tick_delivers_a_bounded_number(tmp_path: Path, post: Post) -> None:
    notifier = Notifier(tmp_path / "alerts.jsonl", [GOOD], post.send)
    notifier.write([alert(str(n)) for n in range(ATTEMPTS + 5)])
    notifier.deliver("a")
    assert len(post.taken) == ATTEMPTS
    notifier.deliver("a")
    assert len(post.taken) == ATTEMPTS + 5


def test_half_a_line_of_a_killed_writer_costs_nothing_else(tmp_path: Path, post: Post) -> None:
    path = tmp_path / "alerts.jsonl"
    notifier = Notifier(path, [GOOD], post.send)
    notifier.write([alert("1")])
    with path.open("a") as file:
        file.write('{"id": "2", "li')
    notifier.write([alert("3")])
    notifier.deliver("a")
    assert [title for _, title in post.taken] == ["title 1", "title 3"]


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path, post: Post) -> None:
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(NotificationError, match=r"alerts\.jsonl"):
        Notifier(tmp_path / "folder" / "alerts.jsonl", [], post.send).write([alert("1")])


def test_apprise_posts_to_a_real_address_and_an_unknown_scheme_is_a_refusal(tmp_path: Path) -> None:
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    bodies: list[dict[str, str]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        urls = [f"json://127.0.0.1:{server.server_port}/", "nonsense://x"]
        notifier = Notifier(tmp_path / "alerts.jsonl", urls)
        notifier.write([alert("1")])
        problems = notifier.deliver("a")
    finally:
        server.shutdown()
        server.server_close()
    assert [body["title"] for body in bodies] == ["title 1"]
    assert len(problems) == 1
    assert problems[0].startswith("nonsense:")
