"""A key in a file, encrypted or not, that only its owner may read."""

from __future__ import annotations

from ..keys import SigningKey
from .algorithms import Algorithm, algorithm_of, sign_with


class FileSigner:
    """Signs with a key from the key folder."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key

    @property
    def chain_pem(self) -> str:
        return self._key.chain_pem

    @property
    def algorithm(self) -> Algorithm:
        return algorithm_of(self._key.leaf.public_key())

    def sign(self, data: bytes) -> bytes:
        return sign_with(self._key.key, data)
