"""The quality gates of the data stage: what a dataset and the evaluation sets must satisfy before anything trains."""

from llm_assets.gates import Gate, bounded
from llm_assets.line import Line
from llm_assets.records.data import DatasetVersion, EvaluationSets
from llm_assets.records.gate import GateResult

ASSET = "dataset"
LARGEST_CATEGORY = 0.95
SMALLEST_CHAT_SET = 2


def dataset_gates(line: Line) -> list[Gate[DatasetVersion]]:
    """Gates on `dataset`."""
    spec = line.data

    def contract(data: DatasetVersion) -> GateResult:
        # rows that an exam holds too are good rows: leaving them out says nothing about the source's quality
        broken = sum(rows for reason, rows in data.rejected.items() if reason != "contamination")
        share = _share(broken, data.read)
        return bounded("contract", ASSET, share, maximum=spec.maximum_rejected, n=data.read)

    def volume(data: DatasetVersion) -> GateResult:
        return bounded("volume", ASSET, float(data.train), minimum=spec.minimum_rows, unit=" rows")

    def duplicates(data: DatasetVersion) -> GateResult:
        share = _share(data.duplicates, data.read)
        return bounded("duplicates", ASSET, share, maximum=spec.maximum_duplicates, n=data.read)

    return [
        Gate("contract", ASSET, "Share of rows that break the contract of a chat record.", contract),
        Gate("volume", ASSET, "Rows that train.", volume),
        Gate("duplicates", ASSET, "Share of rows that repeat another row's prompt and answer.", duplicates),
        Gate("contamination", ASSET, "Rows with an evaluation set's answer that were not left out.", _contamination),
        Gate("reconciles", ASSET, "Rows read that are neither kept, nor duplicates, nor rejected.", _reconciles),
        Gate("split", ASSET, "Rows in the smaller one of training and validation part.", _split),
        Gate("distribution", ASSET, "Share of the largest category, where there are several.", _distribution),
    ]


def evaluation_set_gates() -> list[Gate[EvaluationSets]]:
    """Gates on `evaluation_sets`; broken sets never get as far as this, they are refused when read."""

    def enough(sets: EvaluationSets) -> GateResult:
        smallest = min((found.size for found in sets.sets.values()), default=0)
        reason_n = sum(found.size for found in sets.sets.values())
        return bounded("examples", "evaluation_sets", float(smallest), minimum=SMALLEST_CHAT_SET, n=reason_n)

    return [Gate("examples", "evaluation_sets", "Examples in the smallest set; one gives no standard error.", enough)]


def _contamination(data: DatasetVersion) -> GateResult:
    left = abs(data.contaminated - data.rejected.get("contamination", 0))
    return bounded("contamination", ASSET, float(left), maximum=0, n=data.read, unit=" rows")


def _reconciles(data: DatasetVersion) -> GateResult:
    accounted = data.train + data.validation + data.duplicates + sum(data.rejected.values())
    return bounded("reconciles", ASSET, float(abs(data.read - accounted)), maximum=0, n=data.read, unit=" rows")


def _split(data: DatasetVersion) -> GateResult:
    smaller = float(min(data.train, data.validation))
    return bounded("split", ASSET, smaller, minimum=1, n=data.train + data.validation, unit=" rows")


def _distribution(data: DatasetVersion) -> GateResult:
    kept = sum(data.categories.values())
    if len(data.categories) == 1:
        (only,) = data.categories
        reason = f"{only!r} is the only category, so there is no balance to judge."
        return GateResult(gate="distribution", asset=ASSET, outcome="PASS", reason=reason, bound="", n=kept)
    share = _share(max(data.categories.values(), default=0), kept)
    return bounded("distribution", ASSET, share, maximum=LARGEST_CATEGORY, n=kept)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
