"""What Dagster loads before anything runs."""

import os
import subprocess
import sys
from pathlib import Path

from resources.settings import ROOT

HEAVY = {
    *("torch", "transformers", "peft", "datasets", "numpy", "scipy", "polars", "pandas", "pandera", "matplotlib"),
    *("mlflow", "dagster_mlflow", "dvc", "deepeval", "lm_eval", "reasoning_gym"),
    *("fastapi", "starlette", "uvicorn", "httpx", "apprise"),
}


def test_the_whole_code_location_loads_without_anything_heavy(tmp_path: Path) -> None:
    """Every run, sensor tick and command begins with this."""
    before = "import sys, dagster; known = set(sys.modules)"
    code = f"{before}; import definitions; definitions.defs(); print(*(set(sys.modules) - known))"
    home = {**os.environ, "LLM_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "llm_assets.monitoring.assets" in loaded
    assert not loaded & HEAVY
