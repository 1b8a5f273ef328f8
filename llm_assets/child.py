"""The child's side of `resources/compute.py`: read a request, work, report one result or one clear error."""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dagster_pipes import PipesContext, open_dagster_pipes

from resources.errors import PlatformError

Json = dict[str, Any]


def serve(work: Callable[[Json, PipesContext], Json]) -> None:
    """Run `work(request, pipes)` as this process's whole job.

    Its result, or the error it raised, is written where the parent looks for it; exit status 1 on an error. `pipes.log`
    writes into the run's log. If the parent dies, this process ends itself.
    """
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    with open_dagster_pipes() as pipes:
        try:
            _answer(pipes, {"result": work(pipes.get_extra("request"), pipes)})
            return
        except PlatformError as error:
            report = {"type": type(error).__name__, "message": str(error)}
        except MemoryError:
            report = {
                "type": "PlatformError",
                "message": "out of memory; lower batch_size or maximum_tokens in the line.",
            }
        except OSError as error:
            report = {"type": "PlatformError", "message": f"{error}; check the path, its permissions and free space."}
        except Exception as error:  # noqa: BLE001 - the process's last word, whatever went wrong
            traceback.print_exc()
            report = {"type": "PlatformError", "message": f"{type(error).__name__}: {error} (traceback in stderr)."}
        _answer(pipes, {"error": report})
    sys.exit(1)


def _answer(pipes: PipesContext, content: Json) -> None:
    """All of it or nothing. Not a message of Pipes: their reader takes what is there of a long line for all of it."""
    path = Path(pipes.get_extra("answer"))
    path.with_suffix(".part").write_text(json.dumps(content), encoding="utf-8")
    path.with_suffix(".part").replace(path)


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
