"""The source of a scoring function that a line names: read and looked at, never run here.

It goes into the record of the evaluation set, because it is a part of the exam: another function is another set.
"""

import ast
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from resources.errors import DataError


def function_source(named: str, resolve: Callable[[str], Path]) -> bytes:
    """The source file of `module.path:name` or `path/to/file.py:name`.

    Args:
        resolve: makes a path of a line file absolute.

    Raises:
        DataError: no such module or file, it is not Python, or it defines nothing of that name.
    """
    place, name = named.rsplit(":", 1)
    path = resolve(place) if place.endswith(".py") else _module_file(place, named)
    try:
        source = path.read_bytes()
        tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"function {named}: {path} can't be read as Python ({error}); correct the line.") from error
    defined = {target for statement in tree.body for target in _defined(statement)}
    if name not in defined:
        raise DataError(
            f"function {named}: {path} defines no {name}; it defines {', '.join(sorted(defined)) or 'nothing'}."
        )
    return source


def _module_file(module: str, named: str) -> Path:
    try:
        found = find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.origin or not found.origin.endswith(".py"):
        raise DataError(f"function {named}: there is no Python module {module}; install it, or name a .py file.")
    return Path(found.origin)


def _defined(statement: ast.stmt) -> list[str]:
    """Names that a statement at the top of a file may define as a function."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    if isinstance(statement, ast.ImportFrom):
        return [alias.asname or alias.name for alias in statement.names]
    return []
