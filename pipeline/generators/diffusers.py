"""Any text-to-image or text-to-video pipeline in diffusers' folder layout, the embedded ones too, through one path.

Safetensors only, from a folder that `folder.py` looked at first; remote code is never run, and a watermark that the
library would add by itself (SDXL's fixed 48 bits) is switched off: the mark is ours to put.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from contextlib import nullcontext
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import FiligranaError, GenerationError
from ...provenance.manifest import Model
from ...provenance.media import Frame, Kind, MediaFile
from ..torch_compat import ready
from .base import Generated, Previews, Sampling, StepProgress, StoppedEarly
from .clips import ArrayFrames, SceneFrames, sound_file
from .families import Family, family_of, sound_rate
from .folder import ModelFolder, short
from .memory import Memory

if TYPE_CHECKING:
    from .embedded.unknown import UnknownWord

STEPS = 30
"""Where nothing else is asked for, and the pipeline has no number of its own."""


class DiffusersGenerator:
    """A generator over a diffusers folder or hub id. The weights are loaded at the first use. ``memory``: what is
    done so that they fit."""

    gives_previews = True

    def __init__(
        self, name: str | ModelFolder, *, device: str = "auto", dtype: str = "auto", memory: Memory | None = None
    ) -> None:
        self._home = ModelFolder(name) if isinstance(name, str) else name
        self._device_name, self._dtype_name, self._memory = device, dtype, memory or Memory()
        self._in_use: dict[str, Any] = {}

    @cached_property
    def family(self) -> Family:
        """What this pipeline makes, and how."""
        return family_of(self._home.class_name, self._home.told)

    @property
    def kinds(self) -> frozenset[Kind]:
        """Pictures, clips, or both."""
        return self.family.kinds

    @property
    def sound(self) -> bool:
        """Whether its clips can have sound."""
        return self.family.sound

    @property
    def model(self) -> Model:
        """What it is; loads no weights."""
        return self._home.model

    def unknown_words(self, prompt: str) -> list[UnknownWord]:
        """The words of a prompt that an embedded model never learned. Loads no weights."""
        return self._home.unknown_words(prompt)

    def understood(self, prompt: str) -> dict[str, tuple[str, float]]:
        """What an embedded model takes a prompt to say, with likelihoods; empty for models that cannot tell."""
        if self._home.class_name != "FiligranaShotPipeline":
            return {}
        out: dict[str, tuple[str, float]] = self._pipeline.understood(prompt)
        return out

    @cached_property
    def _pipeline(self) -> Any:
        _ = self.model  # refuses unsafe weights before anything is loaded
        self._home.check()
        ready()
        import torch
        from diffusers import DiffusionPipeline
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        for library in (diffusers_logging, transformers_logging):
            library.disable_progress_bar()
            library.set_verbosity_error()  # their warnings quote what they cut off a prompt, past our own logs
        device, dtype, name = self._device(torch), self._dtype(torch), self._home.class_name
        self._memory.check(device)
        options: dict[str, Any] = {"use_safetensors": True}
        options["dtype"] = {"default": dtype} | dict.fromkeys(self.family.exact, torch.float32)
        if "StableDiffusionXL" in name:
            options["add_watermarker"] = False
        try:
            pipeline: Any
            own = _own(name)
            if own is not None:
                pipeline = own.from_pretrained(str(self._home.folder), dtype=dtype)
            else:
                pipeline = DiffusionPipeline.from_pretrained(
                    str(self._home.folder), local_files_only=True, trust_remote_code=False, **options
                )
            self._in_use = self._memory.place(pipeline, device, dtype)
        except FiligranaError:
            raise
        except Exception as error:  # diffusers raises many kinds for a folder that does not fit together
            raise GenerationError(f"the model could not be loaded: {short(error)}", code="generate.load") from error
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _device(self, torch: Any) -> str:
        if self._device_name != "auto":
            return self._device_name
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"

    def _dtype(self, torch: Any) -> Any:
        if self._dtype_name != "auto":
            return getattr(torch, self._dtype_name)
        # Half precision is slow on a CPU, and its results differ between CPUs.
        return torch.float32 if self._device(torch) == "cpu" else getattr(torch, self.family.half)

    def generate(self, sampling: Sampling, progress: StepProgress, previews: Previews | None = None) -> Generated:
        pipeline = self._pipeline
        import torch

        from .estimate import Estimator

        options = self._options(sampling)
        steps = int(options["num_inference_steps"])
        progress(0, steps)
        estimator, due = Estimator(pipeline), previews.due(steps) if previews is not None else frozenset()

        def step_end(_pipe: Any, step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
            progress(step + 1, steps)
            if previews is not None and step + 1 in due and (frame := _shown(estimator)) is not None:
                previews.look(step + 1, steps, frame)
            return values

        if "callback_on_step_end" in self._takes:
            options["callback_on_step_end"] = step_end
        # The noise is drawn on the CPU, so that one seed means one start on every device.
        options["generator"] = torch.Generator("cpu").manual_seed(sampling.seed)
        try:
            listening = estimator.listening() if due else nullcontext()
            with torch.inference_mode(), self._memory.caching(pipeline), listening:
                result = pipeline(prompt=sampling.prompt, **options)
        except (FiligranaError, KeyboardInterrupt, StoppedEarly):
            raise
        except Exception as error:  # a pipeline may raise anything for options that it cannot serve
            said = f"the model could not generate: {short(error)}"
            if isinstance(error, ValueError) and sampling.size is not None:
                # What it says of arguments, before it begins; a size is what may be asked for that it may not serve.
                hint = "Ask for another size, or for none: the model has one of its own."
                raise GenerationError(said, code="generate.size", hint=hint) from error
            raise GenerationError(said) from error
        frames, size = self._frames(result, sampling, options)
        used: dict[str, Any] = {
            "seed": sampling.seed,
            "steps": steps,
            "guidance": None if sampling.guidance is None else f"{sampling.guidance:g}",
            "width": size[0],
            "height": size[1],
            "device": str(pipeline._execution_device),
            "dtype": str(self._dtype(torch)).removeprefix("torch."),
            "pipeline": self._home.class_name,
            "versions": {name: metadata.version(name) for name in ("torch", "diffusers")},
        }
        if self._in_use:
            used["memory"] = dict(self._in_use)
        if sampling.kind == "image":
            return Generated("image", frames, sampling=used)
        used["frames"] = options["num_frames"]
        return Generated("video", frames, self.family.rate, self._sound(result, sampling), used)

    @cached_property
    def _takes(self) -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(type(self._pipeline).__call__).parameters)

    def _options(self, sampling: Sampling) -> dict[str, Any]:
        """What the pipeline is asked for. What is left out is as the pipeline's authors chose."""
        family, takes = self.family, self._takes
        own = getattr(takes.get("num_inference_steps"), "default", None)
        steps = sampling.steps or (own if isinstance(own, int) else STEPS)
        options: dict[str, Any] = {"num_inference_steps": steps, "output_type": "scene" if family.scenes else "np"}
        if sampling.guidance is not None:
            options["guidance_scale"] = sampling.guidance
        if sampling.negative_prompt:
            # Models whose guidance is distilled (Flux) take one, and then leave it unread.
            unread = getattr(takes.get("true_cfg_scale"), "default", None) == 1.0
            if "negative_prompt" not in takes or unread:
                raise GenerationError(
                    f"{self._home.class_name} reads no negative prompt",
                    code="generate.option",
                    hint="Say what you want in the prompt itself.",
                )
            options["negative_prompt"] = sampling.negative_prompt
        if sampling.size is not None:
            options["width"], options["height"] = sampling.size
        if sampling.kind == "image":
            return options | ({"num_frames": 1} if "num_frames" in takes else {})
        options["num_frames"] = family.frames(sampling.frames)
        if family.scenes:
            options["sound"] = sampling.sound
        if family.tells_rate:
            options["frame_rate"] = float(family.rate)
        return options

    def _frames(
        self, result: Any, sampling: Sampling, options: dict[str, Any]
    ) -> tuple[Iterable[Frame], tuple[int, int]]:
        """The frames, and their width and height. Raises GenerationError where there is no usable one."""
        many = sampling.kind == "video"
        shown = getattr(result, "frames" if many else "images", None)
        if shown is None and not many:  # a pipeline of clips, asked for one frame
            clips = getattr(result, "frames", None)
            shown = None if clips is None else [clip[0] for clip in clips]
        shown = [] if shown is None else shown
        if len(shown) == 0:
            raise GenerationError("the model gave no usable picture (empty)", code="generate.empty")
        frames: Iterable[Frame]
        if self.family.scenes:
            side = int(options.get("width", 512))
            frames = SceneFrames(shown[0], side, int(options.get("num_frames", 1)), self.family.rate)
        else:
            array = np.asarray(shown[0], np.float32)
            frames = ArrayFrames(array if many else array[None], self.family.rate)
        if not many:
            frames = tuple(frames)
        first = next(iter(frames), None)
        if first is None:
            raise GenerationError("the model gave a clip without frames", code="generate.empty")
        return frames, (int(first.rgb.shape[1]), int(first.rgb.shape[0]))

    def _sound(self, result: Any, sampling: Sampling) -> MediaFile | None:
        if not sampling.sound:
            return None
        audio = getattr(result, "audio", None)
        rate = getattr(result, "sampling_rate", None) or sound_rate(self._pipeline)
        if audio is None or len(audio) == 0 or not rate:
            raise GenerationError("the model gave no sound", code="generate.empty")
        one = audio[0]
        return sound_file(np.asarray(one.float().cpu() if hasattr(one, "cpu") else one, np.float32), int(rate))


def _own(name: str) -> Any:
    """The pipeline class of the embedded families, or None."""
    if name == "FiligranaShotPipeline":
        from .embedded.shot import FiligranaShotPipeline

        return FiligranaShotPipeline
    return None


def _shown(estimator: Any) -> Any:
    """The preview, or None: one that cannot be decoded stops nothing, since the result is judged anyway."""
    try:
        return estimator.frame()
    except Exception:  # noqa: BLE001  see above
        return None
