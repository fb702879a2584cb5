"""Whoever speaks OpenAI's images and videos API: `POST /images/generations`, `/videos`."""

from __future__ import annotations

import base64
import time
from typing import Any

from ...errors import GenerationError
from ...provenance.manifest import Model
from ...provenance.media import Kind, Limits
from ...provenance.scratch import ScratchFolder
from .base import Generated, Sampling, StepProgress
from .remote import Wire, as_documented, digest_of, received

POLL = 2.0
_LONGEST = 1800.0
_NO_SEED = "none: this service takes no seed"


class OpenAIMedia:
    """``name``: the service's own name of the model. Its pictures are not made again by a seed: it takes none."""

    def __init__(self, wire: Wire, name: str, limits: Limits, poll: float = POLL) -> None:
        self._wire, self._name, self._limits, self._poll = wire, name, limits, poll
        self._video = any(word in name.lower() for word in ("sora", "video"))

    @property
    def model(self) -> Model:
        return Model(
            name=self._name,
            version="as served",
            identifier=f"{self._wire.url}#{self._name}",
            digest=digest_of("openai", self._wire.url, self._name),
        )

    @property
    def kinds(self) -> frozenset[Kind]:
        return frozenset({"video"} if self._video else {"image"})

    @property
    def sound(self) -> bool:
        """Whether its clips have sound, where they have."""
        return self._video

    def generate(self, sampling: Sampling, progress: StepProgress) -> Generated:
        """Raises GenerationError: ``generate.refused`` where the service's own filter stopped it."""
        if sampling.negative_prompt:
            raise GenerationError("this model takes no negative prompt", code="generate.option")
        if sampling.steps is not None or sampling.guidance is not None:
            raise GenerationError("this model takes neither steps nor guidance", code="generate.option")
        progress(0, 1)
        with as_documented():
            made = self._clip(sampling, progress) if sampling.kind == "video" else self._picture(sampling)
        progress(1, 1)
        return made

    def _picture(self, sampling: Sampling) -> Generated:
        body: dict[str, Any] = {"model": self._name, "prompt": sampling.prompt, "n": 1, "size": _size(sampling)}
        if self._name.startswith("dall-e"):
            body["response_format"] = "b64_json"  # newer models know nothing else, and refuse the word
        answer = self._wire.json("POST", "/images/generations", body)
        folder = ScratchFolder()
        path = folder.path / "picture"
        one = _first(answer)
        if isinstance(one.get("b64_json"), str):
            try:
                path.write_bytes(base64.b64decode(one["b64_json"], validate=True))
            except ValueError:
                raise GenerationError("the model gave no picture", code="generate.empty") from None
        elif isinstance(one.get("url"), str) and (one["url"].startswith("https://") or self._wire.is_own(one["url"])):
            self._wire.download(one["url"], path)
        else:
            raise GenerationError("the model gave no picture", code="generate.empty")
        return received(sampling, folder, path, self._limits, seed=_NO_SEED)

    def _clip(self, sampling: Sampling, progress: StepProgress) -> Generated:
        body: dict[str, Any] = {"model": self._name, "prompt": sampling.prompt}
        if sampling.size is not None:
            body["size"] = _size(sampling)
        job = self._wire.json("POST", "/videos", body)
        ident, until = str(job.get("id") or ""), time.monotonic() + _LONGEST
        if not ident or "/" in ident:
            raise GenerationError("the model's service gave no job", code="generate.remote")
        while job.get("status") not in ("completed", "failed"):
            if time.monotonic() > until:
                raise GenerationError("the model's service took too long", code="generate.remote")
            self._wire.sleep(self._poll)
            job = self._wire.json("GET", f"/videos/{ident}")
            progress(min(99, int(job.get("progress") or 0)), 100)
        if job["status"] == "failed":
            code = str((job.get("error") or {}).get("code") or "")
            refused = any(word in code for word in ("moderation", "policy", "safety"))
            raise GenerationError(
                "the model's own service refused this prompt" if refused else "the model's service failed",
                code="generate.refused" if refused else "generate.remote",
            )
        folder = ScratchFolder()
        path = folder.path / "clip"
        self._wire.download(f"{self._wire.url}/videos/{ident}/content", path)
        return received(sampling, folder, path, self._limits, seed=_NO_SEED)


def _size(sampling: Sampling) -> str:
    return "auto" if sampling.size is None else f"{sampling.size[0]}x{sampling.size[1]}"


def _first(answer: Any) -> dict[str, Any]:
    data = answer.get("data") if isinstance(answer, dict) else None
    found = data[0] if isinstance(data, list) and data else None
    if not isinstance(found, dict):
        raise GenerationError("the model gave no picture", code="generate.empty")
    return found
