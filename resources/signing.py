"""Ed25519 signatures of verdicts. The private key is a file that only its owner can read."""

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from resources.errors import GuardError
from resources.store import canonical


class Signer:
    """Signs and verifies with the key in `path`, made at first use."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _private(self) -> Any:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            pem = Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            temporary.touch(mode=0o600)
            temporary.write_bytes(pem)
            try:
                os.link(temporary, self.path)  # the first of two racing processes wins
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        if self.path.stat().st_mode & 0o077:
            raise GuardError(f"signing key {self.path} can be read by others; run: chmod 600 {self.path}")
        return serialization.load_pem_private_key(self.path.read_bytes(), password=None)

    @cached_property
    def key_id(self) -> str:
        """The first 16 hex digits of the public key's sha256."""
        return hashlib.sha256(self._private.public_key().public_bytes_raw()).hexdigest()[:16]

    def sign(self, value: Any) -> str:
        """Signature, in hex, of a JSON value's canonical spelling."""
        signature: bytes = self._private.sign(canonical(value))
        return signature.hex()

    def verify(self, value: Any, signature: str, key_id: str) -> None:
        """Check a signature.

        Raises:
            GuardError: another key signed it, or the value is not what was signed.
        """
        from cryptography.exceptions import InvalidSignature

        if key_id != self.key_id:
            raise GuardError(f"signed with key {key_id}, but this instance trusts {self.key_id} ({self.path}).")
        try:
            self._private.public_key().verify(bytes.fromhex(signature), canonical(value))
        except (InvalidSignature, ValueError) as error:
            raise GuardError("the signature does not match: the verdict is not what was signed.") from error
