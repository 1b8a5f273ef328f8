"""drift.html: one hour of requests against the training data, on one self-contained page. Light: no plotting here."""

from collections.abc import Sequence

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from llm_assets.monitoring.request import DriftRequest
from llm_assets.records.monitoring import Drift
from resources.settings import ROOT

TEMPLATES = ROOT / "llm_assets" / "monitoring"


def render(request: DriftRequest, n: int, features: Sequence[Drift], plot: str = "") -> str:
    """The page as HTML.

    Args:
        n: requests with a prompt.
        features: empty if there were too few to compare.
        plot: an SVG element.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("drift.html.j2").render(
        line=request.line,
        hour=request.hour,
        dataset=request.dataset_name,
        n=n,
        minimum=request.monitoring.minimum_requests,
        confidence=request.monitoring.confidence,
        features=features,
        plot=Markup(plot),
    )
