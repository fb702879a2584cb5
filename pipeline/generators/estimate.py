"""The early estimate of what a diffusion model will show, decoded while it is still sampling.

After each step a sampler holds noisy latents x and the model's answer for them; together they say what the clean
latents would be if the model were right at once: x - sigma v for flow matching (Lipman et al., 2023), the schedulers'
own `pred_original_sample` where they give it, and for the others the formula of their prediction type (Ho et al.,
2020; Salimans and Ho, 2022). Where none of that is known, there is no estimate, and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from types import MethodType
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Estimator:
    """Listens to a pipeline's scheduler in the block of ``listening``; ``frame`` decodes what it heard last."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._clean: Any = None
        # of a shot where things are is sampled before what they look like: the last estimates, by their length
        self._flows: dict[int, Any] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        scheduler = self._pipeline.scheduler
        step = scheduler.step

        def heard(model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
            sigma = _sigma(scheduler, timestep)
            result = step(model_output, timestep, sample, *args, **kwargs)
            self._clean = _estimate(scheduler, model_output, timestep, sample, sigma, result)
            if sample.ndim == 2:
                self._flows[sample.shape[1]] = self._clean
            return result

        scheduler.step = _Heard(heard, scheduler)
        try:
            yield
        finally:
            # The method of the class shows again.
            del scheduler.step
            self._clean = None
            self._flows.clear()

    def frame(self) -> NDArray[np.uint8] | None:
        """uint8 (h, w, 3), or None where this pipeline offers no estimate. May raise what decoding raises."""
        import torch

        clean = self._clean
        if clean is not None and type(self._pipeline).__name__ == "FiligranaShotPipeline":
            parts = [self._flows.get(int(flow.values)) for flow in (self._pipeline.transformer, self._pipeline.motion)]
            return None if any(part is None for part in parts) else _shot(self._pipeline, parts)
        if clean is None or clean.ndim != 4:
            return None
        with torch.inference_mode():
            picture = _decoded(self._pipeline, clean[:1])
        if picture is None or not bool(torch.isfinite(picture).all()):
            return None
        rgb = (picture[0].permute(1, 2, 0).float().cpu().clamp(0, 1) * 255).round()
        return np.asarray(rgb.to(torch.uint8).numpy(), np.uint8)


class _Heard:
    """A scheduler's step that is listened to. It shows the signature of the step itself, by which pipelines decide
    whether to hand on their source of noise. A pipeline with sound copies its scheduler for the sound, and the copy
    has to count its own steps, unheard."""

    def __init__(self, heard: Callable[..., Any], scheduler: Any) -> None:
        self._heard, self._scheduler = heard, scheduler
        self.__signature__ = signature(scheduler.step)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._heard(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        # The copy is on its way, and known by the original's id.
        return MethodType(type(self._scheduler).step, memo[id(self._scheduler)])


def _sigma(scheduler: Any, timestep: Any) -> Any:
    """The noise level of this step, asked before it is made: the scheduler counts on."""
    sigmas, index = getattr(scheduler, "sigmas", None), getattr(scheduler, "step_index", None)
    if sigmas is None:
        return None
    if index is None:
        found: Any = (scheduler.timesteps == timestep).nonzero() if hasattr(scheduler, "timesteps") else []
        index = int(found[0]) if len(found) else None
    return None if index is None or index >= len(sigmas) else sigmas[index]


def _estimate(scheduler: Any, output: Any, timestep: Any, sample: Any, sigma: Any, result: Any) -> Any:
    if output.shape != sample.shape:  # a model that predicts variances beside
        return None
    if isinstance(result, tuple):
        given = result[1] if len(result) > 1 else None
    else:
        given = getattr(result, "pred_original_sample", None)
    if given is not None and getattr(given, "shape", None) == sample.shape:
        return given
    kind, wanted = type(scheduler).__name__, scheduler.config.get("prediction_type")
    if kind.startswith("FlowMatch") or wanted == "flow_prediction":
        return None if sigma is None else sample - sigma.to(sample.device, sample.dtype) * output
    alphas = getattr(scheduler, "alphas_cumprod", None)
    # Schedulers of sigmas that scale their sample (Euler, Heun, LMS) give their own estimate, or none is made.
    if alphas is None or "Euler" in kind or kind in ("HeunDiscreteScheduler", "LMSDiscreteScheduler"):
        return None
    alpha = alphas[int(timestep)].to(sample.device, sample.dtype)
    if wanted == "epsilon":
        return (sample - (1 - alpha).sqrt() * output) / alpha.sqrt()
    if wanted == "v_prediction":
        return alpha.sqrt() * sample - (1 - alpha).sqrt() * output
    return output if wanted == "sample" else None


def _shot(pipeline: Any, parts: list[Any]) -> NDArray[np.uint8]:
    """The middle of a shot, which shows what a clip's beginning may not."""
    import torch

    from .embedded.tracks import frames

    with torch.inference_mode():
        (scene,) = pipeline.decode(torch.cat([part[:1] for part in parts], 1))
    return list(frames(scene, 256, 2))[1]


def _decoded(pipeline: Any, latents: Any) -> Any:
    """Pictures (N, 3, h, w) in 0..1, or None for a decoder that is not known."""
    vae = getattr(pipeline, "vae", None)
    config = getattr(vae, "config", None)
    if vae is None or config is None or config.get("scaling_factor") is None:
        return None
    if config.get("latent_channels") != latents.shape[1]:
        return None
    scaled = latents / config.scaling_factor + (config.get("shift_factor") or 0.0)
    return vae.decode(scaled.to(vae.dtype), return_dict=False)[0] / 2 + 0.5
