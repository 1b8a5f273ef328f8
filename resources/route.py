"""The route of a line: which release its gateway sends requests to. One small file, replaced by rename.

`LocalServing` writes it, the gateway reads it; a switch of releases is nothing but this pointer.
"""

import os
import uuid
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resources.errors import ServingError


class Route(BaseModel):
    """Where requests go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: str
    release: str
    """Digest."""
    name: str
    model: str
    """What the backend calls the adapter."""
    backend: Annotated[str, Field(pattern=r"^https?://[^/]+$")]
    """Base URL of a server that speaks vLLM's API."""
    system: str = ""
    """The release's system prompt, put before conversations that bring none."""


def write_route(path: Path, route: Route | None) -> None:
    """Replace the route at once; None removes it.

    Raises:
        ServingError: the file can't be written; the earlier route stays.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        if route is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(route.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ServingError(
            f"the route {path} can't be written ({error.strerror}); what served before still does. "
            "Check free space and permissions."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def read_route(path: Path) -> Route | None:
    """The current route; None if there is none.

    Raises:
        ServingError: the file is there but is not a route.
    """
    try:
        return Route.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ServingError(f"the route {path} can't be read; remove it and deploy again ({error}).") from error
