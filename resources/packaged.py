"""Files that a line names: a path, or `package://MODULE/FILE` inside an installed Python package."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from resources.errors import ModelError

SCHEME = "package://"


def locate(source: str, resolve: Callable[[str], Path]) -> Path:
    """Where a file or folder is. A package's code is not imported.

    Args:
        source: as written in the line.
        resolve: makes a relative path absolute, for example `Settings.resolve`.

    Raises:
        ModelError: the package is not installed, or has no such file, or the path does not exist.
    """
    if not source.startswith(SCHEME):
        path = resolve(source)
        if not path.exists():
            raise ModelError(f"{source}: no such file or folder ({path}); correct the path in the line.")
        return path
    module, _, name = source.removeprefix(SCHEME).partition("/")
    spec = find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"{source}: package {module!r} is not installed; add it to the environment (pip install).")
    found = Path(next(iter(spec.submodule_search_locations))) / name
    if not name or not found.exists():
        raise ModelError(f"{source}: package {module!r} has no {name!r}; correct the name in the line.")
    return found
