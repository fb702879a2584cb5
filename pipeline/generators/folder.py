"""A model's folder in diffusers' layout: where it lies, what it is, and the digest of its weights. Nothing is loaded.

Safetensors only: a folder whose weights are pickles is refused here, before anything else looks at it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import GenerationError
from ...provenance.manifest import Model
from ..torch_compat import ready

if TYPE_CHECKING:
    from .embedded.unknown import UnknownWord

EMBEDDED = "embedded"
EMBEDDED_NAME = "filigrana-shot"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def embedded_folder() -> Path:
    """Where the shipped model lies."""
    return Path(str(resources.files("filigrana.models"))) / "shot"


class ModelFolder:
    """A model by its name: `embedded`, a folder, or a hub id."""

    def __init__(self, name: str) -> None:
        self._name = name

    def check(self) -> None:
        """Called before anything of it is loaded. Of a plain folder nothing is known that it could be held against."""

    @property
    def class_name(self) -> str:
        """The pipeline's class, as the folder names it."""
        return str(self.index["_class_name"])

    @property
    def told(self) -> dict[str, Any]:
        """What the folder says of the pipeline and of its transformer, by which models of one class are told apart."""
        try:
            transformer = json.loads((self.folder / "transformer" / "config.json").read_text("utf-8"))
        except (OSError, ValueError):
            transformer = {}
        return (transformer if isinstance(transformer, dict) else {}) | self.index

    def unknown_words(self, prompt: str) -> list[UnknownWord]:
        """The words of a prompt that an embedded model never learned; none for other models, which read anything."""
        if not self.class_name.startswith("Filigrana"):
            return []
        from .embedded.unknown import unknown_words

        return unknown_words(self._tokenizer, prompt)

    @cached_property
    def folder(self) -> Path:
        """The model's folder; a hub id is resolved, and fetched where the machine is online."""
        if self._name == EMBEDDED:
            folder = embedded_folder()
        elif Path(self._name).is_dir():
            folder = Path(self._name)
        elif self._name.count("/") == 1 and not self._name.startswith((".", "/")):
            folder = self._fetch()
        else:
            raise GenerationError(
                f"there is no model {self._name!r}",
                code="generate.no_model",
                hint="Give `embedded`, a folder in diffusers' layout, or a hub id such as owner/name.",
            )
        if not (folder / "model_index.json").is_file():
            raise GenerationError(
                f"{folder} has no model_index.json",
                code="generate.no_model",
                hint="A diffusers pipeline folder has one.",
            )
        return folder

    def _fetch(self) -> Path:
        ready()
        from diffusers import DiffusionPipeline

        try:
            return Path(DiffusionPipeline.download(self._name, use_safetensors=True, trust_remote_code=False))
        except Exception as error:  # the hub client raises many kinds; all mean that the model is not to be had
            raise GenerationError(
                f"the model {self._name!r} could not be fetched: {short(error)}",
                code="generate.fetch",
                hint="Offline? Copy the model's folder here and give its path.",
            ) from error

    @cached_property
    def index(self) -> dict[str, Any]:
        """model_index.json. Raises GenerationError where it names no pipeline."""
        try:
            index = json.loads((self.folder / "model_index.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise GenerationError("model_index.json cannot be read", code="generate.no_model") from error
        if not isinstance(index, dict) or not isinstance(index.get("_class_name"), str):
            raise GenerationError("model_index.json names no pipeline class", code="generate.no_model")
        return index

    @cached_property
    def model(self) -> Model:
        """Name, version, licence, training data, and the digest of all weights. Loads none of them."""
        files = sorted(self.folder.rglob("*.safetensors"))
        if not files:
            pickles = any(path.suffix in PICKLES for path in self.folder.rglob("*"))
            raise GenerationError(
                "the model has no safetensors weights" + (", only pickles, which can run code" if pickles else ""),
                code="generate.unsafe_weights" if pickles else "generate.no_model",
                hint="Convert it with diffusers' save_pretrained(safe_serialization=True).",
            )
        hashes: list[tuple[str, str]] = []
        for path in files:
            with path.open("rb") as stream:
                inner = hashlib.file_digest(stream, "sha256").hexdigest()
            hashes.append((path.relative_to(self.folder).as_posix(), inner))
        return self.described(hashes)

    def described(self, hashes: Iterable[tuple[str, str]]) -> Model:
        """What it is, with the digest that follows from those of its weights (place in the folder and SHA-256)."""
        digest = hashlib.sha256()
        for name, inner in hashes:
            digest.update(f"{name} {inner}\n".encode())
        about = self._about()
        return Model(
            name=about.get("name")
            or (EMBEDDED_NAME if self._name == EMBEDDED else self._name.rstrip("/").rsplit("/", 1)[-1]),
            version=str(about.get("version") or self.index.get("_diffusers_version") or ""),
            identifier=f"sha256:{digest.hexdigest()}"
            if Path(self._name).exists() or self._name == EMBEDDED
            else self._name,
            digest=digest.hexdigest(),
            licence=str(about.get("licence") or ""),
            training_data=str(about.get("training_data") or ""),
        )

    def _about(self) -> dict[str, Any]:
        """`filigrana.json` beside the weights: name, version, licence, training_data; optional."""
        path = self.folder / "filigrana.json"
        try:
            about = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        except (OSError, ValueError):
            about = {}
        return about if isinstance(about, dict) else {}

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import PreTrainedTokenizerFast

        try:
            return PreTrainedTokenizerFast.from_pretrained(str(self.folder / "tokenizer"))
        except Exception as error:  # the library raises many kinds; all mean that the folder is incomplete
            raise GenerationError("the model's tokenizer cannot be read", code="generate.load") from error


def short(error: BaseException) -> str:
    """The first line of what a library said, cut."""
    return (str(error) or type(error).__name__).splitlines()[0][:160]
