"""The state files of local servers: which processes run, where, and what they hold."""

import os
import uuid
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from resources.errors import ServingError
from resources.processes import Server


class ServerState(BaseModel):
    """What every state file holds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    server: Server


class GatewayState(ServerState):
    """`gateway.json`."""


class RuntimeState(ServerState):
    """`runtime.json`: a runtime, and what it has to load again if it must be started anew."""

    base: str
    """Digest of the base model's files."""
    adapters: dict[str, Path] = {}


S = TypeVar("S", bound=ServerState)


def read_state(path: Path, state_type: type[S]) -> S | None:
    """The state in a file; None if there is none.

    Raises:
        ServingError: the file is there but is no state.
    """
    try:
        return state_type.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ServingError(f"{path} can't be read; end the servers of this line by hand and remove it.") from error


def write_state(path: Path, state: ServerState) -> None:
    """Replace the file at once.

    Raises:
        ServingError: it can't be written; the earlier state stays.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(state.model_dump_json(indent=1), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise ServingError(
            f"{path} can't be written ({error.strerror}); free some space and run this again."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
