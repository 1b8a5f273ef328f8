"""Bringing a release to its servers: plain steps that the assets and the rollback put together.

Nothing here decides whether a release may serve; the guard did that before.
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llm_assets.line import Line
from llm_assets.records.data import EvaluationSets
from llm_assets.records.release import Release
from llm_assets.records.serving import Answer, Deployment
from llm_assets.records.training import Prompt
from llm_assets.release_log import Event, champion, history, previous, record_event
from resources.errors import ServingError
from resources.route import Route
from resources.serving import LocalServing
from resources.store import ArtifactStore
from resources.tracking import Tracking

Question = list[dict[str, str]]

PROBE: Question = [{"role": "user", "content": "Hello! How are you today?"}]
"""What a new route is asked where no held-out question is at hand."""


def adapter_name(release: Release) -> str:
    """What the runtime calls a release's adapter."""
    return f"{release.line}-{release.short}"


def held_out_questions(store: ArtifactStore, sets: EvaluationSets, count: int) -> list[Question]:
    """The first prompts of the first chat evaluation set, each a conversation up to the answer.

    Raises:
        ServingError: the line has no chat evaluation set, or it has too few examples.
    """
    rows = next((found.rows for found in sets.sets.values() if found.kind == "chat"), None)
    if rows is None:
        raise ServingError("a deployment is asked held-out questions, but the line has no evaluation set of kind chat.")
    with (store.path(rows) / "set.jsonl").open(encoding="utf-8") as lines:
        questions: list[Question] = [
            json.loads(text)["messages"][:-1] for text, _ in zip(lines, range(count), strict=False)
        ]
    if len(questions) < count:
        raise ServingError(
            f"deployment.questions is {count}, but the chat evaluation set has {len(questions)} examples."
        )
    return questions


def prepare(serving: LocalServing, store: ArtifactStore, release: Release) -> Route:
    """Have a runtime hold the release's adapter; returns the route that leads to it. Nothing serves it yet.

    Raises:
        ServingError: the runtime does not start or refuses the adapter.
        StoreError: bytes in the store are not what was published.
    """
    adapter, base = store.verify(release.adapter), store.path(release.base_files)
    name = adapter_name(release)
    url = serving.ensure_runtime(release.line, release.base_files.digest, base, adapter.parent)
    serving.load_adapter(release.line, release.base_files.digest, name, adapter)
    system = Prompt.load(store, release.prompt).system
    return Route(line=release.line, release=release.digest, name=release.name, model=name, backend=url, system=system)


def ask_all(serving: LocalServing, route: Route, questions: Sequence[Question], max_tokens: int) -> list[Answer]:
    """Ask a prepared release directly, one question after the other."""
    answers = []
    for question in questions:
        text, seconds = serving.ask(route.backend, question, max_tokens, route.model, route.system)
        answers.append(Answer(question=question[-1]["content"], answer=text, seconds=round(seconds, 3)))
    return answers


def serve(
    serving: LocalServing,
    store: ArtifactStore,
    tracking: Tracking,
    line: Line,
    release: Release,
    question: Question,
    event: Event,
) -> Deployment:
    """Make a release the one that users get: gateway, alias `production` and release log, or none of them.

    Raises:
        ServingError: it does not answer through the gateway.
        TrackingError, StoreError: the alias or the log can't be written. Whatever fails, what served before serves on.
    """
    with serving.locked(line.name):
        route = prepare(serving, store, release)
        url = serving.ensure_gateway(line.name, line.deployment.gateway_port)
        earlier = serving.route(line.name)
        with _undone_on_failure(serving, tracking, line.name, earlier, champion(store, line.name)):
            text, seconds = serving.switch(route, question, line.deployment.max_new_tokens)
            tracking.set_alias(line.name, "production", release.version)
            record_event(store, line.name, event, release)
        tidy(serving, store, line.name, release)
    answer = Answer(question=question[-1]["content"], answer=text, seconds=round(seconds, 3))
    return Deployment(stage="production", release=release.digest, name=release.name, url=url, answers=[answer])


def tidy(serving: LocalServing, store: ArtifactStore, line: str, *wanted: Release) -> None:
    """Keep in memory what serves, what a rollback leads to, what was staged last, and these; drop the rest."""
    with serving.locked(line):  # else a promotion that ends meanwhile would lose its adapter
        known = (champion(store, line), previous(store, line), _last_staged(store, line), *wanted)
        keep = [release for release in known if release]
        serving.tidy(line, {(release.base_files.digest, adapter_name(release)) for release in keep})


def is_served(serving: LocalServing, release: Release, question: Question, max_tokens: int) -> bool:
    """Whether users get this release now: the route names it and the gateway answers."""
    route = serving.route(release.line)
    if route is None or route.release != release.digest:
        return False
    try:
        return bool(serving.ask(serving.gateway_url(release.line), question, max_tokens)[0].strip())
    except ServingError:  # a server died: deploying again starts it
        return False


def curl_command(url: str, max_tokens: int) -> str:
    """A command that asks the gateway."""
    body = json.dumps({"messages": PROBE, "max_tokens": max_tokens})
    return f"curl -s {url}/v1/chat/completions -H 'content-type: application/json' -d {shlex.quote(body)}"


def answers_table(deployment: Deployment) -> str:
    """Questions and answers as a Markdown table."""

    def cell(text: str) -> str:
        return " ".join(text.replace("|", "\\|").split())[:300]

    rows = [f"| {cell(one.question)} | {cell(one.answer)} | {one.seconds:.2f} |" for one in deployment.answers]
    return "\n".join(["| question | answer | seconds |", "|---|---|---|", *rows])


def _last_staged(store: ArtifactStore, line: str) -> Release | None:
    staged = [entry["release"] for entry in history(store, line) if entry["event"] == "staged"]
    return Release.load(store, staged[-1]) if staged else None


@contextmanager
def _undone_on_failure(
    serving: LocalServing, tracking: Tracking, line: str, earlier: Route | None, served: Release | None
) -> Iterator[None]:
    """Put route and alias back if a step in between fails."""
    try:
        yield
    except BaseException:
        serving.restore(line, earlier)
        if served is not None:
            tracking.set_alias(line, "production", served.version)
        raise


def describe(deployment: Deployment, line: Line, reused: bool) -> dict[str, Any]:
    """What the UI shows of a deployment."""
    return {
        "reused": reused,
        "release": deployment.name,
        "release_digest": deployment.release,
        "url": deployment.url,
        "answers": answers_table(deployment),
        "slowest_seconds": deployment.slowest,
        "curl": curl_command(deployment.url, line.deployment.max_new_tokens),
    }
