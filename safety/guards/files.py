"""The files of a guard model, and loading them through transformers.

Safetensors only, and no code from the model's folder is ever run. Errors are SafetyError: ``safety.missing`` (no such
model, no weights, no transformers), ``safety.weights`` (they do not fit, or lack a part), ``safety.model`` (of another
kind).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import SafetyError
from ..decision import ModelRef

_BESIDE = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")
_FROM_THE_HUB = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model")


@dataclass(frozen=True)
class Loaded:
    tokenizer: Any
    network: Any
    device: str


@dataclass
class ModelFiles:
    """``where``: a folder, or a hub id (``owner/name`` or ``owner/name@revision``, downloaded once). ``kinds``: the
    model types that are accepted."""

    where: str
    kinds: frozenset[str]

    @cached_property
    def folder(self) -> Path:
        path = Path(self.where).expanduser()
        if path.is_dir():
            return path
        repository, _, revision = self.where.partition("@")
        if self.where.startswith((".", "/", "~")) or repository.count("/") != 1:
            raise SafetyError(f"there is no guard model at {self.where}", code="safety.missing")
        try:
            from huggingface_hub import snapshot_download

            return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(_FROM_THE_HUB)))
        except Exception as error:
            raise SafetyError(
                f"the guard model {repository} is not here and could not be fetched ({type(error).__name__})",
                code="safety.missing",
                hint="Download it, and name its folder. Gated models need a token of the hub.",
            ) from error

    @cached_property
    def reference(self) -> ModelRef:
        """``digest``: sha256 over the weight files in the order of their names. ``version``: the beginning of that
        over the files that say how they are used (settings, tokenizer, prompt format), which decide as well."""
        weights = sorted(self.folder.glob("*.safetensors"))
        if not weights:
            raise SafetyError("the guard model has no safetensors weights", code="safety.missing")
        beside = [path for name in _BESIDE if (path := self.folder / name).is_file()]
        name = self.where if not Path(self.where).expanduser().is_dir() else self.folder.resolve().name
        return ModelRef(name, _sha256(beside)[:16], _sha256(weights))

    def load(self, device: str = "auto", dtype: str = "auto") -> Loaded:
        _ = self.reference  # weights that cannot be named decide nothing
        try:
            import torch
            import transformers
        except ImportError as error:
            raise SafetyError(
                f"the package {error.name} is not installed",
                code="safety.missing",
                hint="pip install 'filigrana[guards]'",
            ) from error
        transformers.utils.logging.disable_progress_bar()
        folder = str(self.folder)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        names = {"float32": torch.float32, "bfloat16": torch.bfloat16}
        weights = names.get(dtype) or (torch.float32 if device == "cpu" else torch.bfloat16)
        try:
            kind = json.loads((self.folder / "config.json").read_text("utf-8"))["model_type"]
            if kind not in self.kinds:
                raise SafetyError(
                    f"a model of type {str(kind)[:40]} is not {' or '.join(sorted(self.kinds))}", code="safety.model"
                )
            family: Any = transformers.AutoModelForCausalLM
            if kind == "llama4":
                family = transformers.AutoModelForImageTextToText
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
            network, report = family.from_pretrained(
                folder,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=weights,
                output_loading_info=True,
            )
        except SafetyError:
            raise
        except Exception as error:
            raise SafetyError(
                f"the guard model cannot be loaded ({type(error).__name__})", code="safety.weights"
            ) from error
        # transformers fills what is missing with chance and only warns.
        if report.get("missing_keys") or report.get("mismatched_keys"):
            raise SafetyError("the guard model's weights lack a part", code="safety.weights")
        return Loaded(tokenizer, network.eval().to(device), device)


def _sha256(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    try:
        for path in paths:
            with path.open("rb") as stream:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
    except OSError as error:
        raise SafetyError("the guard model's files cannot be read", code="safety.missing") from error
    return digest.hexdigest()
