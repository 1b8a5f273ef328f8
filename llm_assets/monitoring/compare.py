"""The child process that compares a window with the training data: embed what is new, measure, draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dagster_pipes import PipesContext

from llm_assets.child import Json, serve
from llm_assets.evaluation.judge import EmbeddingJudge
from llm_assets.line import MonitoringSpec
from llm_assets.monitoring.page import render
from llm_assets.monitoring.psi import Bins, Counts, calibrated_bound, category_bins, number_bins, psi
from llm_assets.monitoring.reference import Embed, Features, ReferenceSet, Vectors, build_reference, lowest
from llm_assets.monitoring.request import FEATURES, Comparison, DriftRequest, Reference
from llm_assets.monitoring.window import ROWS, parse_request, prompt_of
from llm_assets.records.monitoring import Drift
from resources.store import ArtifactStore


@dataclass(frozen=True)
class Compared:
    """One feature, with what a plot of it needs."""

    drift: Drift
    bins: Bins
    training: Counts
    window: Counts


def compare_features(training: Features, window: Features, monitoring: MonitoringSpec) -> list[Compared]:
    """PSI of every feature against the bound for this window's size."""
    return [_compare(name, getattr(training, name), getattr(window, name), monitoring) for name in FEATURES]


def _compare(name: str, training: Sequence[float], window: Sequence[float], monitoring: MonitoringSpec) -> Compared:
    if name == "category":
        bins = category_bins([str(value) for value in training], monitoring.bins)
    else:
        bins = number_bins(training, monitoring.bins)
    expected, found = bins.count(training), bins.count(window)
    value = float(psi(expected, found))
    bound = calibrated_bound(expected, int(found.sum()), monitoring.confidence, len(FEATURES))
    return Compared(Drift(feature=name, psi=value, bound=bound, drifted=value > bound), bins, expected, found)


def load_reference(request: DriftRequest, store: ArtifactStore, embed: Embed) -> ReferenceSet:
    """The training data's features, from the store if this dataset was ever compared before."""
    known = Reference.published(store, request.reference_key)
    if known is not None:
        return ReferenceSet.load(store.path(known.files) / "reference.npz")
    made = build_reference(store.path(request.dataset) / "train.jsonl", embed)
    files = store.put_files({"reference.npz": made.dump()})
    store.put_result(request.reference_key, Reference(files=files, rows=len(made.vectors)).save(store))
    return made


def compare(request: DriftRequest, embed: Embed) -> Comparison:
    """Everything, with any embedder."""
    from llm_assets.monitoring.plots import drift_plot
    from llm_assets.plots import png, svg

    store = request.store
    embedded: list[str] = []

    def counted(texts: list[str]) -> Vectors:
        embedded.extend(texts)
        return embed(texts)

    reference = load_reference(request, store, counted)
    prompts = _prompts(store.path(request.window) / ROWS)
    window = reference.describe(prompts, counted(prompts))
    compared = compare_features(reference.features, window, request.monitoring)
    features = [one.drift for one in compared]
    page = render(request, len(prompts), features, svg(drift_plot(compared)))
    files = {"drift.html": page.encode(), "drift.png": png(drift_plot(compared))}
    return Comparison(features=features, n=len(prompts), page=store.put_files(files), embedded=len(embedded))


def _prompts(path: Path) -> list[str]:
    requests = [parse_request(line) for line in path.read_bytes().split(b"\n") if line]
    asked = [request for request in requests if request and prompt_of(request["messages"])]
    return [prompt_of(request["messages"]) for request in lowest(asked, lambda request: str(request["id"]))]


def work(request: Json, pipes: PipesContext) -> Json:
    """The child's work, see `resources/compute.py`."""
    parsed = DriftRequest.model_validate(request)
    made = compare(parsed, EmbeddingJudge(Path(parsed.embedder)).embeddings)
    pipes.log.info(f"drift: {made.n} prompts compared, {made.embedded} texts embedded.")
    return made.content()


if __name__ == "__main__":
    serve(work)
