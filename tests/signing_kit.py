"""Signing small files in tests: a key folder, trust lists for it, and one call that signs a picture."""

from __future__ import annotations

import datetime as dt
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filigrana.provenance.identity import AssetId
from filigrana.provenance.keys import KeyStore
from filigrana.provenance.manifest import Model, SourceType, Statement, definition
from filigrana.provenance.media import encode_picture
from filigrana.provenance.signers import FileSigner
from filigrana.provenance.signing import sign_file
from filigrana.provenance.timestamps import loopback_tsa
from filigrana.provenance.trust import TrustList, TrustLists
from filigrana.tests.doubles import scene

ID = AssetId(0xABCDEF012345678)


@dataclass
class Kit:
    keys: KeyStore

    @classmethod
    def make(cls, folder: Path, now: dt.datetime | None = None) -> Kit:
        keys = KeyStore(folder / "keys")
        keys.ensure(now)
        return cls(keys)

    @property
    def claim_root(self) -> str:
        return (self.keys.development_root() or b"").decode()

    @property
    def tsa_root(self) -> str:
        return (self.keys.tsa_root() or b"").decode()

    @property
    def trust(self) -> TrustLists:
        return TrustLists((TrustList("development", self.claim_root),), (TrustList("development", self.tsa_root),))

    def tsa(self) -> AbstractContextManager[str]:
        return loopback_tsa(self.keys.tsa())

    def sign(self, source: Path, target: Path, mime: str, manifest: dict[str, Any], **options: Any) -> bytes:
        with self.tsa() as url:
            return sign_file(
                source, target, mime, manifest, FileSigner(self.keys.claim()), **({"tsa_url": url} | options)
            )

    def picture(self, folder: Path, mime: str = "image/jpeg", **changes: Any) -> Path:
        """A signed picture in ``folder``."""
        source, target = folder / "source", folder / f"signed-{len(list(folder.iterdir()))}"
        source.write_bytes(encode_picture(scene(2), mime))
        self.sign(source, target, mime, definition(statement(mime, **changes)))
        return target


def statement(mime: str = "image/jpeg", source_type: SourceType = "generated", **changes: Any) -> Statement:
    fields: dict[str, Any] = {
        "asset_id": ID,
        "title": str(ID),
        "mime": mime,
        "source_type": source_type,
        "made_at": dt.datetime(2026, 11, 22, tzinfo=dt.UTC),
        "version": "0.1.0",
        "bindings": (("org.filigrana.dft.1", str(ID)),),
        "record": {"policy": {"id": "newsroom", "version": "1.0.0", "digest": "0" * 64}, "verdict": "allow"},
        "model": Model("double", "1", "sha256:00", "00", "MIT", "procedural"),
    }
    return Statement(**(fields | changes))
