"""What all records have in common."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from resources.errors import StoreError
from resources.store import Artifact, ArtifactStore, digest_of


class Record(BaseModel):
    """Base of all records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def content(self) -> dict[str, Any]:
        """The JSON value that is stored and hashed."""
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON."""
        return digest_of(self.content())

    @property
    def short(self) -> str:
        """The first twelve hex digits of the digest, for people."""
        return self.digest[:12]

    def artifacts(self) -> list[Artifact]:
        """Every artifact this record or a record inside it points to."""
        found: list[Artifact] = []
        pending: list[Any] = [getattr(self, name) for name in type(self).model_fields]
        while pending:
            value = pending.pop()
            if isinstance(value, Artifact):
                found.append(value)
            elif isinstance(value, BaseModel):
                pending.extend(getattr(value, name) for name in type(value).model_fields)
            elif isinstance(value, dict):
                pending.extend(value.values())
            elif isinstance(value, list | tuple):
                pending.extend(value)
        return found

    def save(self, store: ArtifactStore) -> str:
        """Write to the store; returns the digest."""
        return store.put_record(self.content())

    @classmethod
    def load(cls, store: ArtifactStore, digest: str) -> Self:
        """Read back from the store, digest checked."""
        return cls.model_validate(store.get_record(digest))

    @classmethod
    def published(cls, store: ArtifactStore, key: str) -> Self | None:
        """What a computation with this key gave; None if it never ran, or its record or an artifact of it is gone."""
        digest = store.get_result(key)
        if digest is None:
            return None
        try:
            record = cls.load(store, digest)
        except (StoreError, ValueError):  # gone or of an older shape: compute it again
            return None
        return record if all(store.has(artifact) for artifact in record.artifacts()) else None
