"""Replay: an asset made again from its record, and whether the pixels before marking are the same."""

from __future__ import annotations

import hashlib
import importlib.metadata
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, KeyStoreError
from ..provenance.catalog import Catalog
from ..provenance.database import session
from ..provenance.identity import AssetId
from ..provenance.log.sequencer import AuditLog
from ..provenance.media import Frame, kind_of_mime
from ..provenance.tables import Intent
from ..provenance.vault import Vault
from ..safety.text.views import clean
from .generators.base import Generator, Sampling, StepProgress


def pixel_digest(frames: Iterable[Frame]) -> str:
    """sha256 (hex) over every frame's height, width and RGB bytes, in order."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(struct.pack(">II", *frame.rgb.shape[:2]))
        digest.update(frame.rgb.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Replay:
    """``identical``: whether the pixels are the same, bit for bit. ``differences``: what is not as it was then."""

    asset_id: AssetId
    identical: bool
    recorded: str
    now: str
    differences: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "asset_id": str(self.asset_id),
            "identical": self.identical,
            "recorded": self.recorded,
            "now": self.now,
            "differences": list(self.differences),
        }


def replay(log: AuditLog, generator: Generator, asset_id: AssetId, progress: StepProgress) -> Replay:
    """Generates again from the record. Raises InputError for an unknown or sealed asset, and KeyStoreError where the
    prompt was erased: what its author had destroyed is not made again."""
    with session(log.engine) as opened:
        record = Catalog(opened).by_asset_id(asset_id)
        row = opened.get(Intent, record.intent_id) if record is not None and record.intent_id else None
        if row is None or not row.result:
            raise InputError(
                f"nothing is recorded under {asset_id}",
                code="input.asset_unknown",
                hint="`filigrana audit show` lists what was released here.",
            )
        if row.kind != "generate":
            raise InputError(
                "this asset was made elsewhere and sealed here: there is nothing to replay",
                code="input.not_generated",
            )
        vault = Vault(opened)
        texts = {kind: vault.open_text(ident) for kind, ident in vault.texts_of_intent(row.id).items()}
        recorded, asked = dict(row.result["sampling"]), dict(row.request)
    if "prompt" not in texts:
        raise KeyStoreError(
            "the prompt of this asset is no longer kept: its retention period is over",
            code="provenance.erased",
            hint="",
        )
    prompt = clean(texts.get("rewritten_prompt") or texts["prompt"])
    guidance, size = asked.get("guidance"), asked.get("size")
    sampling = Sampling(
        prompt,
        int(recorded["seed"]),
        # what was taken where nothing was asked for may be another number by now
        asked.get("steps") or recorded.get("steps"),
        None if guidance is None else float(guidance),
        None if size is None else (int(size[0]), int(size[1])),
        texts.get("negative_prompt"),
        kind_of_mime(str(asked.get("mime", "image/png"))),
        asked.get("sound") is True,
        recorded.get("frames"),
    )
    differences = _differences(recorded, generator)
    made = generator.generate(sampling, progress)
    digest = pixel_digest(made.frames)
    for name in ("device", "dtype", "pipeline", "memory"):
        if made.sampling.get(name) != recorded.get(name):
            differences.append(f"{name}: {recorded.get(name)} then, {made.sampling.get(name)} now")
    return Replay(asset_id, digest == recorded["pixel_digest"], recorded["pixel_digest"], digest, tuple(differences))


def _differences(recorded: dict[str, Any], generator: Generator) -> list[str]:
    found = []
    then, model = recorded.get("model", {}), generator.model
    if then.get("digest") != model.digest:
        found.append(
            f"model: {then.get('name')} {str(then.get('digest'))[:12]} then, {model.name} {model.digest[:12]} now"
        )
    for name, was in recorded.get("versions", {}).items():
        try:
            now = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            now = "not installed"
        if now != was:
            found.append(f"{name}: {was} then, {now} now")
    return found
