"""The platform's one family of errors.

Every message names the thing, the value that was found and the way out, in one sentence or two. Stages raise these
from plain Python; the Dagster layer turns each into a `Failure` with the same text (`llm_assets/reuse.py`).
"""


class PlatformError(Exception):
    """Base of everything this platform raises on purpose."""


class LineError(PlatformError):
    """A file in `lines/` has a wrong key, type or value."""


class SettingsError(PlatformError):
    """An environment variable has a value that is not allowed."""


class DataError(PlatformError):
    """Data is missing, empty, broken or not where the line says."""


class StoreError(PlatformError):
    """The artifact store can't be read or written, or holds other bytes than a digest promises."""


class ModelError(PlatformError):
    """A base model, tokenizer or adapter is missing, broken or not the one that was named."""


class TrainingError(PlatformError):
    """Training diverged or its child process died."""


class EvaluationError(PlatformError):
    """An evaluation could not produce its numbers."""


class JudgeError(PlatformError):
    """The judge of an evaluation is not set up; that it does not answer is no error, but a missing answer."""


class TrackingError(PlatformError):
    """The experiment tracker or model registry refused or can't be reached."""


class GuardError(PlatformError):
    """Something would have reached users without a passing verdict for exactly these bytes."""


class ServingError(PlatformError):
    """A server did not start, answer or take the release it was given."""


class NotificationError(PlatformError):
    """An alert could not be delivered."""
