"""Which foreign checkers an evaluation set may name: reasoning-gym's verifiers and IFBench's instruction checkers.

Only what they are called; running them belongs to the evaluation stage. None are known where a package is not
installed: then the evaluation, which needs it, refuses what it does not have.
"""

import ast
import functools
from importlib.util import find_spec
from pathlib import Path

RUNS_ANSWERS = {
    "binary_matrix",
    "composite",
    "countdown",
    "intermediate_integration",
    "n_queens",
    "polynomial_multiplication",
    "puzzle24",
    "simple_integration",
    "spiral_matrix",
    "string_insertion",
}
"""Datasets of reasoning-gym 0.1.25 whose verifier gives the model's answer to Python's `eval`, itself or through sympy;
`composite` hands it on to any other."""
RUNS_ENTRIES = {"bitwise_arithmetic", "number_sorting"}
"""Datasets of reasoning-gym 0.1.25 whose verifier gives the problem or the right answer of a row to Python's `eval`."""


@functools.cache
def reasoning_tasks() -> frozenset[str]:
    """Names of the datasets that reasoning-gym has; takes a second the first time."""
    try:
        from reasoning_gym.factory import DATASETS
    except ImportError:
        return frozenset()
    return frozenset(DATASETS)


@functools.cache
def instruction_ids() -> frozenset[str]:
    """Ids of the instructions that have a checker, read from their registry's text: importing it downloads data."""
    spec = find_spec("if_verifiable")
    if spec is None or not spec.submodule_search_locations:
        return frozenset()
    registry = Path(spec.submodule_search_locations[0]) / "ifbench" / "instructions_registry.py"
    tree = ast.parse(registry.read_text(encoding="utf-8"))
    keys = [key for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys]
    return frozenset(str(key.value) for key in keys if isinstance(key, ast.Constant))
