"""Counters, gauges and histograms in Prometheus's text format, as far as the two servers need them.

Not a client library: no registry, no process metrics. The format is version 0.0.4,
https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from bisect import bisect_left
from collections.abc import Sequence
from threading import Lock

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metric:
    """A counter or gauge: one number per combination of label values."""

    def __init__(self, name: str, kind: str, description: str, labels: Sequence[str] = ()) -> None:
        self.name, self.kind, self.description, self.labels = name, kind, description, tuple(labels)
        self._values: dict[tuple[str, ...], float] = {} if self.labels else {(): 0.0}
        self._lock = Lock()

    def add(self, amount: float = 1, **labels: str) -> None:
        """Increase the number of these labels."""
        key = tuple(labels[label] for label in self.labels)
        with self._lock:
            self._values[key] = self._values.get(key, 0.0) + amount

    def set(self, value: float, **labels: str) -> None:
        """Replace the number of these labels."""
        with self._lock:
            self._values[tuple(labels[label] for label in self.labels)] = value

    def clear(self) -> None:
        """Forget all labels, for gauges whose labels name what is current."""
        with self._lock:
            self._values.clear()

    def lines(self) -> list[str]:
        """The samples as text."""
        with self._lock:
            samples = sorted(self._values.items())
        return [f"{self.name}{_labels(self.labels, key)} {value:g}" for key, value in samples]


class Histogram(Metric):
    """Durations in seconds, counted in cumulative buckets."""

    def __init__(self, name: str, description: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, "histogram", description, labels)
        self._counts: dict[tuple[str, ...], list[float]] = {}

    def observe(self, seconds: float, **labels: str) -> None:
        """Count one duration."""
        key = tuple(labels[label] for label in self.labels)
        with self._lock:
            counts = self._counts.setdefault(key, [0.0] * (len(SECONDS) + 2))
            counts[bisect_left(SECONDS, seconds)] += 1
            counts[-1] += seconds

    def lines(self) -> list[str]:
        """The samples as text: buckets, sum and count."""
        with self._lock:
            samples = sorted((key, list(counts)) for key, counts in self._counts.items())
        found: list[str] = []
        for key, counts in samples:
            total = 0.0
            for bound, count in zip((*map(str, SECONDS), "+Inf"), counts, strict=False):
                total += count
                found.append(f"{self.name}_bucket{_labels((*self.labels, 'le'), (*key, bound))} {total:g}")
            found.append(f"{self.name}_sum{_labels(self.labels, key)} {counts[-1]:.9g}")
            found.append(f"{self.name}_count{_labels(self.labels, key)} {total:g}")
        return found


def exposition(metrics: Sequence[Metric]) -> str:
    """The page that Prometheus scrapes."""
    lines: list[str] = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.description}", f"# TYPE {metric.name} {metric.kind}", *metric.lines()]
    return "\n".join(lines) + "\n"


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
