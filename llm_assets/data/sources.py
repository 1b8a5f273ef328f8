"""What a line reads from data registries, and at which revision.

The one place that knows how a line's `data` and `evaluation` sections name registries; sensors and assets ask here.
"""

from llm_assets.line import Line
from llm_assets.records.data import SourceVersion
from resources.git import is_url, without_password
from resources.registry import DataRegistry
from resources.settings import Settings


def training_source(line: Line, registry: DataRegistry, settings: Settings, rev: str | None = None) -> SourceVersion:
    """The training data's present version, from git alone (milliseconds for a local registry).

    Args:
        rev: another revision than the line's, for example a commit that was observed before.

    Raises:
        DataError: no such registry, revision or path.
    """
    return _observe(registry, location(line.data.repo, settings), rev or line.data.rev, line.data.train)


def evaluation_source(line: Line, registry: DataRegistry, settings: Settings) -> SourceVersion:
    """The evaluation sets' present version; their registry and revision default to those of the training data."""
    repo = location(line.evaluation.repo or line.data.repo, settings)
    paths = sorted({spec.path for spec in line.evaluation.sets.values() if spec.path})
    return _observe(registry, repo, line.evaluation.rev or line.data.rev, paths)


def location(repo: str, settings: Settings) -> str:
    """A registry's URL as it is, or its path made absolute."""
    return repo if is_url(repo) else str(settings.resolve(repo))


def _observe(registry: DataRegistry, repo: str, rev: str, paths: list[str]) -> SourceVersion:
    seen = registry.observe(repo, rev, paths)
    return SourceVersion(repo=without_password(repo), revision=rev, commit=seen.commit, objects=seen.objects)
