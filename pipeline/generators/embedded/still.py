"""The pipeline for stills: a diffusers pipeline over the embedded caption encoder, transformer and decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from diffusers.schedulers import FlowMatchEulerDiscreteScheduler
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from .autoencoder import FiligranaAutoencoder
from .text import FiligranaTextEncoder, tokenize
from .transformer import FiligranaTransformer

StepEnd = Callable[[Any, int, Tensor, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Condition:
    """Captions as the transformer takes them: word vectors (N, words, width), pooled (N, width), mask."""

    words: Tensor
    pooled: Tensor
    mask: Tensor

    def joined(self, other: Condition) -> Condition:
        """Both batches, one after the other."""
        return Condition(
            torch.cat((self.words, other.words)),
            torch.cat((self.pooled, other.pooled)),
            torch.cat((self.mask, other.mask)),
        )


class FiligranaPipeline(DiffusionPipeline):
    """Draws the licensed sprite world from a prompt: 512x512 pictures, deterministic on a CPU.

    Components: autoencoder, text_encoder, tokenizer, transformer, scheduler (flow matching, Euler).
    """

    model_cpu_offload_seq = "text_encoder->transformer->autoencoder"  # type: ignore[assignment]
    _callback_tensor_inputs = ("latents",)

    def __init__(
        self,
        autoencoder: FiligranaAutoencoder,
        text_encoder: FiligranaTextEncoder,
        tokenizer: Any,
        transformer: FiligranaTransformer,
        scheduler: FlowMatchEulerDiscreteScheduler,
    ) -> None:
        super().__init__()
        self.register_modules(  # type: ignore[no-untyped-call]
            autoencoder=autoencoder,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            transformer=transformer,
            scheduler=scheduler,
        )
        self._interrupt = False

    @property
    def interrupt(self) -> bool:
        """Set by a callback (`pipe._interrupt = True`) to skip the remaining steps."""
        return self._interrupt

    @property
    def side(self) -> int:
        """The only width and height in pixels that this model draws."""
        return int(self.transformer.config.latent_side) * int(self.autoencoder.factor)

    def check_inputs(
        self,
        prompt: str | list[str],
        negative_prompt: str | list[str] | None,
        height: int,
        width: int,
        num_inference_steps: int,
        output_type: str,
        callback_inputs: list[str],
    ) -> list[str]:
        """Returns the prompts as a list; ValueError says what is wrong with the arguments."""
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts or not all(isinstance(text, str) for text in prompts):
            raise ValueError("prompt must be a string or a non-empty list of strings")
        if isinstance(negative_prompt, list) and len(negative_prompt) != len(prompts):
            raise ValueError(f"{len(negative_prompt)} negative prompts for {len(prompts)} prompts")
        if (height, width) != (self.side, self.side):
            raise ValueError(f"this model draws {self.side}x{self.side} pixels only, not {width}x{height}")
        if num_inference_steps < 1:
            raise ValueError("num_inference_steps must be at least 1")
        if output_type not in ("pil", "np", "latent"):
            raise ValueError(f"output_type {output_type!r} is not one of 'pil', 'np', 'latent'")
        unknown = set(callback_inputs) - set(self._callback_tensor_inputs)
        if unknown:
            raise ValueError(f"callback_on_step_end_tensor_inputs offers only 'latents', not {sorted(unknown)}")
        return prompts

    def encode_prompt(self, prompts: list[str], repeats: int = 1) -> Condition:
        """Captions -> their condition, each repeated `repeats` times in a row."""
        ids = tokenize(self.tokenizer, prompts, int(self.text_encoder.config.words))
        words, pooled, mask = self.text_encoder(ids.to(self._execution_device).repeat_interleave(repeats, 0))
        return Condition(words, pooled, mask)

    def prepare_latents(
        self,
        batch_size: int,
        dtype: torch.dtype,
        device: torch.device,
        generator: torch.Generator | list[torch.Generator] | None,
        latents: Tensor | None = None,
    ) -> Tensor:
        """Unit Gaussian noise (batch, channels, 16, 16), or the caller's own latents of that shape."""
        side = int(self.transformer.config.latent_side)
        shape = (batch_size, int(self.transformer.config.latent_channels), side, side)
        if latents is None:
            noise: Tensor = randn_tensor(shape, generator=generator, device=device, dtype=dtype)
            return noise
        if tuple(latents.shape) != shape:
            raise ValueError(f"latents have shape {tuple(latents.shape)}, expected {shape}")
        return latents.to(device=device, dtype=dtype)

    def decode(self, latents: Tensor) -> Tensor:
        """Final latents (in the transformer's scale) -> pictures (N, 3, 512, 512) in 0..1."""
        scaled = (latents * float(self.transformer.config.latent_scale)).clamp(-1, 1)
        pictures: Tensor = self.autoencoder.decode(scaled.to(self.autoencoder.dtype))
        out: Tensor = (pictures.float() / 2 + 0.5).clamp(0, 1)
        return out

    def _velocity(self, latents: Tensor, timestep: Tensor, condition: Condition, scale: float) -> Tensor:
        guided = len(condition.words) > len(latents)
        x = torch.cat((latents, latents)) if guided else latents
        sigma = (timestep / self.scheduler.config.num_train_timesteps).expand(len(x)).to(x.device)
        out: Tensor = self.transformer(x, sigma, condition.words, condition.pooled, condition.mask)
        if not guided:
            return out
        plain, told = out.chunk(2)
        return plain + scale * (told - plain)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        negative_prompt: str | list[str] | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float = 2.5,
        height: int = 512,
        width: int = 512,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        num_images_per_prompt: int = 1,
        output_type: str = "pil",
        callback_on_step_end: StepEnd | None = None,
        callback_on_step_end_tensor_inputs: list[str] | None = None,
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Draws each prompt `num_images_per_prompt` times.

        `output_type` "pil" gives PIL pictures, "np" float32 (N, 512, 512, 3) in 0..1, "latent" the final
        latents. `callback_on_step_end(pipe, step, timestep, {"latents": ...})` runs after every step and may
        return other latents; what it raises leaves this call, and the pipeline can be called again.
        """
        wanted = ["latents"] if callback_on_step_end_tensor_inputs is None else callback_on_step_end_tensor_inputs
        prompts = self.check_inputs(prompt, negative_prompt, height, width, num_inference_steps, output_type, wanted)
        self._interrupt = False
        condition = self.encode_prompt(prompts, num_images_per_prompt)
        if guidance_scale > 1:
            against = negative_prompt if negative_prompt is not None else ""
            texts = [against] * len(prompts) if isinstance(against, str) else list(against)
            condition = self.encode_prompt(texts, num_images_per_prompt).joined(condition)
        device, dtype = self._execution_device, self.transformer.dtype
        latents = self.prepare_latents(len(prompts) * num_images_per_prompt, dtype, device, generator, latents)
        sigmas = np.linspace(1.0, 1 / num_inference_steps, num_inference_steps)
        self.scheduler.set_timesteps(sigmas=sigmas.tolist(), device=device)
        with self.progress_bar(total=num_inference_steps) as bar:
            for step, timestep in enumerate(self.scheduler.timesteps):
                if self._interrupt:
                    continue
                velocity = self._velocity(latents, timestep, condition, guidance_scale)
                latents = self.scheduler.step(velocity, timestep, latents, return_dict=False)[0]
                if callback_on_step_end is not None:
                    given = dict.fromkeys(wanted, latents)
                    latents = (callback_on_step_end(self, step, timestep, given) or {}).pop("latents", latents)
                bar.update()
        images: Any = latents
        if output_type != "latent":
            images = self.decode(latents).permute(0, 2, 3, 1).cpu().numpy()
            if output_type == "pil":
                images = [Image.fromarray(np.rint(picture * 255).astype(np.uint8)) for picture in images]
        self.maybe_free_model_hooks()  # type: ignore[no-untyped-call]
        return ImagePipelineOutput(images=images) if return_dict else (images,)
