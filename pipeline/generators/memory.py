"""What lets a model run on a machine that is too small for it, or in less time than its steps take.

All four are diffusers' own (0.42.1): components that wait on the CPU (`enable_model_cpu_offload`, and layer by layer
`enable_sequential_cpu_offload`), weights stored in 8 bits and computed with in the type in use
(`enable_layerwise_casting`), steps whose first block says that little changed (First Block Cache, after ParaAttention
and TeaCache, Liu et al., 2024), and pictures decoded in tiles. Offloading changes no pixel; the others do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import GenerationError

Offload = Literal["none", "model", "sequential"]
Weights = Literal["none", "float8"]
StepCache = Literal["none", "first_block"]

THRESHOLD = 0.05
"""How much of the first block's residual may change (mean of absolute values) before the other blocks run again."""
_DENOISERS = ("transformer", "transformer_2", "unet")


@dataclass(frozen=True)
class Memory:
    """``offload``: what waits on the CPU. ``weights``: how the denoiser's weights are stored. ``step_cache``: what
    steps may be spared. ``vae_tiling``: whether pictures are decoded in tiles, where the autoencoder can."""

    offload: Offload = "none"
    weights: Weights = "none"
    step_cache: StepCache = "none"
    vae_tiling: bool = False

    def check(self, device: str) -> None:
        """Raises GenerationError for what this device cannot do. Costs nothing, and comes before any loading."""
        if self.offload != "none" and device == "cpu":
            raise _refused(
                f"there is no accelerator to offload from: `offload` is {self.offload}, and the device is cpu",
                "Set `offload` to none, or `device` to an accelerator of this machine.",
            )

    def place(self, pipeline: Any, device: str, dtype: Any) -> dict[str, Any]:
        """Brings a loaded pipeline to its device, and says which of these options are really in use there. ``dtype``:
        torch's type to compute in. Raises GenerationError for what the pipeline cannot do."""
        self.check(device)
        used: dict[str, Any] = {}
        if self.weights == "float8":
            _store_in_float8(pipeline, dtype)
            used["weights"] = self.weights
        if self.vae_tiling and _tile(pipeline):
            used["vae_tiling"] = True
        if self.offload == "none":
            pipeline.to(device)
        else:
            if self.offload == "model":
                pipeline.enable_model_cpu_offload(device=device)
            else:
                pipeline.enable_sequential_cpu_offload(device=device)
            used["offload"] = self.offload
        with self.caching(pipeline):  # whether it can is known at loading
            if self.step_cache != "none":
                used["step_cache"] = f"{self.step_cache} {THRESHOLD:g}"
        return used

    @contextmanager
    def caching(self, pipeline: Any) -> Iterator[None]:
        """Spares steps in this block, with a cache of its own: what the last picture left would change the next."""
        cached: list[Any] = []
        try:
            if self.step_cache == "first_block":
                from diffusers import FirstBlockCacheConfig

                for part in _denoisers(pipeline):
                    if not hasattr(part, "enable_cache"):
                        raise _no_cache(part)
                    try:
                        part.enable_cache(FirstBlockCacheConfig(threshold=THRESHOLD))
                    except (ValueError, IndexError) as error:  # blocks that it does not know, or fewer than two
                        raise _no_cache(part) from error
                    cached.append(part)
            yield
        finally:
            for part in cached:
                part.disable_cache()


def _denoisers(pipeline: Any) -> list[Any]:
    """The parts that run at every step; some families have one for the early steps and one for the late ones."""
    found = [part for name in _DENOISERS if (part := getattr(pipeline, name, None)) is not None]
    if not found:
        raise _refused(
            f"{type(pipeline).__name__} has no part that these memory options are for",
            "Set `weights` and `step_cache` to none.",
        )
    return found


def _store_in_float8(pipeline: Any, dtype: Any) -> None:
    import torch

    for part in _denoisers(pipeline):
        if not hasattr(part, "enable_layerwise_casting"):
            raise _refused(f"{type(part).__name__} cannot store its weights in 8 bits", "Set `weights` to none.")
        part.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)


def _tile(pipeline: Any) -> bool:
    """Whether pictures are now decoded in tiles; several at once are decoded one by one, too."""
    vae, done = getattr(pipeline, "vae", None), []
    for name in ("tiling", "slicing"):
        enable = getattr(vae, f"enable_{name}", None)
        if enable is None:
            continue
        try:
            enable()
        except NotImplementedError:
            continue
        done.append(name)
    return "tiling" in done


def _no_cache(part: Any) -> GenerationError:
    return _refused(f"the step cache first_block does not know {type(part).__name__}", "Set `step_cache` to none.")


def _refused(message: str, hint: str) -> GenerationError:
    return GenerationError(message, code="generate.memory", hint=hint)
