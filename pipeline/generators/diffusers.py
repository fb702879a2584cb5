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

if TYPE_CHECKING:
    from .embedded.unknown import UnknownWord

STEPS = 12
"""Of the embedded model, where nothing else is asked for."""


class DiffusersGenerator:
    """A generator over a diffusers folder or hub id. The weights are loaded at the first use."""

    gives_previews = True

    def __init__(self, name: str | ModelFolder, *, device: str = "auto", dtype: str = "auto") -> None:
        self._home = ModelFolder(name) if isinstance(name, str) else name
        self._embedded = self._home.embedded
        self._device_name, self._dtype_name = device, dtype

    @cached_property
    def family(self) -> Family:
        """What this pipeline makes, and how."""
        return family_of(self._home.class_name)

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

        diffusers_logging.disable_progress_bar()
        name = self._home.class_name
        options: dict[str, Any] = {"use_safetensors": True, "dtype": self._dtype(torch)}
        if "StableDiffusionXL" in name:
            options["add_watermarker"] = False
        try:
            pipeline: Any
            own = _own(name)
            if own is not None:
                pipeline = own.from_pretrained(str(self._home.folder), dtype=options["dtype"])
            else:
                pipeline = DiffusionPipeline.from_pretrained(
                    str(self._home.folder), local_files_only=True, trust_remote_code=False, **options
                )
            pipeline.to(self._device(torch))
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
        return torch.float32 if self._device(torch) == "cpu" else torch.float16

    def generate(self, sampling: Sampling, progress: StepProgress, previews: Previews | None = None) -> Generated:
        pipeline = self._pipeline
        import torch

        from .estimate import Estimator

        steps = sampling.steps or (STEPS if self._embedded else 30)
        options: dict[str, Any] = {"num_inference_steps": steps, "output_type": "np"}
        if sampling.guidance is not None:
            options["guidance_scale"] = sampling.guidance
        if sampling.negative_prompt:
            options["negative_prompt"] = sampling.negative_prompt
        if sampling.size is not None:
            options["width"], options["height"] = sampling.size
        if sampling.kind == "image" and "num_frames" in self._takes:
            options["num_frames"] = 1
        if sampling.kind == "video":
            options |= self._of_clips(sampling)
        if self.family.scenes:
            options["output_type"] = "scene"
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
            with torch.inference_mode(), estimator.listening() if due else nullcontext():
                result = pipeline(prompt=sampling.prompt, **options)
        except (FiligranaError, KeyboardInterrupt, StoppedEarly):
            raise
        except Exception as error:  # a pipeline may raise anything for options that it cannot serve
            raise GenerationError(f"the model could not generate: {short(error)}") from error
        frames, size = self._frames(result, sampling, options)
        used = {
            "seed": sampling.seed,
            "steps": steps,
            "guidance": None if sampling.guidance is None else f"{sampling.guidance:g}",
            "width": size[0],
            "height": size[1],
            "device": str(pipeline.device),
            "dtype": str(self._dtype(torch)).removeprefix("torch."),
            "pipeline": self._home.class_name,
            "versions": {name: metadata.version(name) for name in ("torch", "diffusers")},
        }
        if sampling.kind == "image":
            return Generated("image", frames, sampling=used)
        return Generated("video", frames, self.family.rate, self._sound(result, sampling), used)

    @cached_property
    def _takes(self) -> frozenset[str]:
        return frozenset(inspect.signature(type(self._pipeline).__call__).parameters)

    def _of_clips(self, sampling: Sampling) -> dict[str, Any]:
        """What a clip is asked for beyond a picture: how many frames, how fast, with sound or not."""
        family, options = self.family, dict[str, Any]()
        if family.scenes:
            options |= {"num_frames": int(family.rate * 2), "sound": sampling.sound}
        if family.tells_rate:
            options["frame_rate"] = float(family.rate)
        return options

    def _frames(
        self, result: Any, sampling: Sampling, options: dict[str, Any]
    ) -> tuple[Iterable[Frame], tuple[int, int]]:
        """The frames, and their width and height. Raises GenerationError where there is no usable one."""
        many = sampling.kind == "video"
        shown = getattr(result, "frames" if many else "images", None)
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
