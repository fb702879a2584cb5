"""A ComfyUI server: `POST /prompt` with a workflow in its API format, then `/history/{id}` and `/view`.

The workflow (in ComfyUI: *Export (API)*) has places, which are filled by their type: ``%prompt%``, ``%seed%``,
``%negative_prompt%``, ``%steps%``, ``%guidance%``, ``%width%``, ``%height%``. A place that nothing was asked for keeps
what stands behind it: ``%steps:25%``.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from ...errors import GenerationError, SettingsError
from ...provenance.manifest import Model
from ...provenance.media import Kind, Limits
from ...provenance.scratch import ScratchFolder
from .base import Generated, Sampling, StepProgress
from .remote import Wire, as_documented, digest_of, received

POLL = 1.0
_LONGEST = 3600.0
_PLACE = re.compile(r"%(prompt|negative_prompt|seed|steps|guidance|width|height)(?::([^%]*))?%")
_MAX_WORKFLOW = 4 << 20
_VIDEOS = (".mp4", ".webm", ".mov", ".mkv")
_LISTS = ("images", "gifs", "videos")
"""How nodes call the files that they wrote."""


class ComfyUI:
    """``workflow``: in API format: node id -> {class_type, inputs}."""

    def __init__(self, wire: Wire, workflow: dict[str, Any], name: str, limits: Limits, poll: float = POLL) -> None:
        self._wire, self._workflow, self._name, self._limits, self._poll = wire, workflow, name, limits, poll
        self._places = {place for text in _texts(workflow) for place, _ in _PLACE.findall(text)}
        if "prompt" not in self._places:
            raise SettingsError(
                "the ComfyUI workflow has no place for the prompt",
                code="settings.model",
                hint="Write %prompt% into it.",
            )

    @classmethod
    def from_file(cls, wire: Wire, path: Path, limits: Limits) -> ComfyUI:
        """Raises SettingsError for what is no workflow in API format."""
        try:
            if path.stat().st_size > _MAX_WORKFLOW:
                raise ValueError
            workflow = json.loads(path.read_text("utf-8"))
            nodes = workflow if isinstance(workflow, dict) else {}
            if not nodes or not all(isinstance(node, dict) and "class_type" in node for node in nodes.values()):
                raise ValueError
        except (OSError, ValueError, RecursionError):
            raise SettingsError(
                f"{path.name} is no ComfyUI workflow in API format",
                code="settings.model",
                hint="In ComfyUI: Workflow, Export (API).",
            ) from None
        return cls(wire, workflow, path.stem, limits)

    @property
    def model(self) -> Model:
        text = json.dumps(self._workflow, sort_keys=True, separators=(",", ":"))
        return Model(
            name=self._name,
            version="ComfyUI",
            identifier=f"{self._wire.url}#{self._name}",
            digest=digest_of("comfyui", self._wire.url, text),
        )

    @property
    def kinds(self) -> frozenset[Kind]:
        clips = any("video" in str(node.get("class_type", "")).lower() for node in self._workflow.values())
        return frozenset({"video"} if clips else {"image"})

    def generate(self, sampling: Sampling, progress: StepProgress) -> Generated:
        """Raises GenerationError where the server cannot, or the workflow has no place for what was asked."""
        values: dict[str, Any] = {
            "prompt": sampling.prompt, "negative_prompt": sampling.negative_prompt, "seed": sampling.seed,
            "steps": sampling.steps, "guidance": sampling.guidance,
            "width": None if sampling.size is None else sampling.size[0],
            "height": None if sampling.size is None else sampling.size[1],
        }  # fmt: skip
        missing = [name for name, value in values.items() if value is not None and name not in self._places]
        if "seed" in missing:
            missing.remove("seed")  # drawn here for everybody; a workflow may draw its own
        if missing:
            raise GenerationError(f"this workflow has no place for {', '.join(missing)}", code="generate.option")
        filled = fill(self._workflow, {name: value for name, value in values.items() if value is not None})
        answer = self._wire.json("POST", "/prompt", {"prompt": filled, "client_id": uuid4().hex})
        ident = str(answer.get("prompt_id") or "")
        if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", ident):
            raise GenerationError("ComfyUI did not take the workflow", code="generate.remote")
        try:
            with as_documented():
                file = self._file(ident, sampling, progress)
        except BaseException:
            # whoever stops waiting does not want it drawn, either
            self._stop(ident)
            raise
        folder = ScratchFolder()
        path = folder.path / "made"
        self._wire.download(f"{self._wire.url}/view", path, file)
        used = {"seed": sampling.seed} if "seed" in self._places else {"seed": "none: the workflow draws its own"}
        return received(sampling, folder, path, self._limits, **used)

    def _file(self, ident: str, sampling: Sampling, progress: StepProgress) -> dict[str, str]:
        until, rounds = time.monotonic() + _LONGEST, 0
        while True:
            progress(min(99, rounds), 100)
            history = self._wire.json("GET", f"/history/{ident}").get(ident)
            if isinstance(history, dict):
                status = history.get("status") or {}
                if status.get("status_str") == "error":
                    raise GenerationError("the ComfyUI workflow failed", code="generate.remote")
                found = _written(history.get("outputs") or {}, sampling.kind)
                if found is None:
                    raise GenerationError("the ComfyUI workflow wrote no such file", code="generate.empty")
                progress(100, 100)
                return found
            if time.monotonic() > until:
                raise GenerationError("ComfyUI took too long", code="generate.remote")
            rounds += 1
            self._wire.sleep(self._poll)

    def _stop(self, ident: str) -> None:
        """Out of the queue, or off the card: but never what it draws for somebody else at this moment, which is what an
        interruption stops on servers that do not read which one is meant."""
        try:
            self._wire.json("POST", "/queue", {"delete": [ident]})
            with as_documented():
                running = [one[1] for one in self._wire.json("GET", "/queue").get("queue_running") or ()]
            if ident in running:
                self._wire.json("POST", "/interrupt", {"prompt_id": ident})
        except GenerationError:
            pass  # it is gone; the first error is the one to show


def fill(value: Any, values: Mapping[str, Any]) -> Any:
    """A copy with its places filled. A text that is one place alone becomes a value of the place's own type. All at
    once: what is filled in is never looked through for places."""
    if isinstance(value, dict):
        return {key: fill(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [fill(each, values) for each in value]
    if not isinstance(value, str):
        return value
    whole = _PLACE.fullmatch(value)
    if whole is not None:
        return values[whole[1]] if whole[1] in values else _default(whole[1], whole[2])
    return _PLACE.sub(lambda found: str(values.get(found[1], found[2] or "")), value)


def _default(name: str, text: str | None) -> Any:
    if name in ("prompt", "negative_prompt"):
        return text or ""
    try:
        number = float(text or "")
    except ValueError:
        raise GenerationError(
            f"the workflow wants {name}, and has nothing for it",
            code="generate.option",
            hint=f"Ask for it, or write %{name}:DEFAULT% into the workflow.",
        ) from None
    return number if name == "guidance" else int(number)


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []


def _written(outputs: Mapping[str, Any], kind: str) -> dict[str, str] | None:
    """The first file of this kind that is no mere preview."""
    for node in outputs.values():
        for name in _LISTS:
            for file in node.get(name, ()) if isinstance(node, dict) else ():
                filename = str(file.get("filename") or "")
                if file.get("type") == "output" and (filename.lower().endswith(_VIDEOS)) == (kind == "video"):
                    return {"filename": filename, "subfolder": str(file.get("subfolder") or ""), "type": "output"}
    return None
