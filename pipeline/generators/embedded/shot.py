"""The pipeline for shots: pictures, clips, and clips with sound, from one diffusion over the layers they consist of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers import FlowMatchEulerDiscreteScheduler
from diffusers.utils.outputs import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from .compose import Image
from .dye import dyed
from .given import Given, given
from .joint import DYED, SPRITES, FiligranaJointTransformer
from .layers import FiligranaLayerAutoencoder
from .motion import SHIFT, FiligranaMotionTransformer
from .reader import PLAN, FiligranaReader
from .sound import FiligranaSoundTransformer
from .spectrogram import waveform
from .time import FiligranaSoundAutoencoder
from .tracks import SECONDS, Scene, frames, scene
from .words import LENGTH, tokenize

StepEnd = Callable[[Any, int, Tensor, dict[str, Any]], dict[str, Any]]
Each = Callable[[int, Tensor, Tensor], Tensor]
RATE = 16_000
SMALLEST, LARGEST = 64, 1024
MOST_FRAMES = 64
NOTHING = Given()
STEPS = 12
"""Of the flow, where nothing else is asked for."""
OUTPUTS = ("pil", "np", "scene", "latent")


def _kept(step: int, timestep: Tensor, now: Tensor) -> Tensor:  # noqa: ARG001 (one of `Each`)
    return now


@dataclass
class FiligranaShotOutput(BaseOutput):
    """`images`: for each shot its only frame (stills); `frames`: for each its frames (clips). PIL pictures, or float32
    (frames, h, w, 3) in 0..1 for "np", a `Scene` for "scene", whose frames are drawn one by one, or latents.
    `audio`: for each shot (samples,) float32 in -1..1 at `sampling_rate`, None without sound."""

    images: Any = None
    frames: Any = None
    audio: list[NDArray[np.float32]] | None = None
    sampling_rate: int = RATE


class FiligranaShotPipeline(DiffusionPipeline):
    """Draws the licensed sprite world from a prompt in five languages, deterministic on a CPU.

    Components: layers (autoencoder of sprites and backdrops), sound (autoencoder), reader (caption encoder), tokenizer,
    transformer (of what is seen), motion (of where it is), hearing (of what is heard), scheduler (flow matching,
    Euler). Pictures are square, 64 to 1024 pixels; clips are two seconds of 2 to 64 frames.
    """

    model_cpu_offload_seq = "reader->motion->transformer->hearing->layers"  # type: ignore[assignment]
    _callback_tensor_inputs = ("latents",)

    def __init__(
        self,
        layers: FiligranaLayerAutoencoder,
        motion: FiligranaMotionTransformer,
        sound: FiligranaSoundAutoencoder,
        reader: FiligranaReader,
        tokenizer: Any,
        transformer: FiligranaJointTransformer,
        hearing: FiligranaSoundTransformer,
        scheduler: FlowMatchEulerDiscreteScheduler,
    ) -> None:
        super().__init__()
        self.register_modules(  # type: ignore[no-untyped-call]
            layers=layers, motion=motion, sound=sound, reader=reader, tokenizer=tokenizer, transformer=transformer,
            hearing=hearing, scheduler=scheduler,
        )  # fmt: skip
        self._interrupt = False

    @property
    def interrupt(self) -> bool:
        """Set by a callback (`pipe._interrupt = True`) to skip the remaining steps."""
        return self._interrupt

    def check_inputs(
        self,
        prompt: str | list[str],
        negative_prompt: str | list[str] | None,
        size: tuple[int, int],
        num_frames: int,
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
        if size[0] != size[1] or not SMALLEST <= size[0] <= LARGEST or size[0] % 2:
            raise ValueError(
                f"this model draws squares of an even {SMALLEST} to {LARGEST} pixels, not {size[0]}x{size[1]}"
            )
        if not 1 <= num_frames <= MOST_FRAMES:
            raise ValueError(f"num_frames must be 1 (a picture) to {MOST_FRAMES}, not {num_frames}")
        if num_inference_steps < 1:
            raise ValueError("num_inference_steps must be at least 1")
        if output_type not in OUTPUTS:
            raise ValueError(f"output_type {output_type!r} is not one of {OUTPUTS}")
        unknown = set(callback_inputs) - set(self._callback_tensor_inputs)
        if unknown:
            raise ValueError(f"callback_on_step_end_tensor_inputs offers only 'latents', not {sorted(unknown)}")
        return prompts

    def encode_prompt(self, prompts: list[str]) -> Tensor:
        """Captions -> slots (N, attributes, width)."""
        ids = tokenize(self.tokenizer, prompts, LENGTH).to(self._execution_device)
        out: Tensor = self.reader(ids)
        return out

    def plan(self, prompts: list[str], against: list[str], noise: Tensor) -> tuple[Tensor, Tensor]:
        """What is drawn for each prompt, and what it is guided away from: slots of plans, (N, 17, width) each.

        The `noise` (N, 17), unit Gaussian, decides what a prompt leaves open; but not as `against` has it."""
        avoided = self.reader.said(self.encode_prompt(against), self.encode_prompt([""]))
        chance = torch.special.ndtr(noise)
        return (
            self.reader.stated(self.reader.decided(self.encode_prompt(prompts), chance, avoided)),
            self.reader.stated(avoided),
        )

    def understood(self, prompt: str) -> dict[str, tuple[str, float]]:
        """What a prompt is taken to say: an answer and its likelihood for each attribute."""
        with torch.no_grad():
            ids = tokenize(self.tokenizer, [prompt], LENGTH).to(self._execution_device)
            out: dict[str, tuple[str, float]] = self.reader.understood(ids)[0]
        return out

    def prepare_latents(
        self,
        batch_size: int,
        dtype: torch.dtype,
        device: torch.device,
        generator: torch.Generator | list[torch.Generator] | None,
        latents: Tensor | None = None,
        sound: bool = True,
    ) -> Tensor:
        """Unit Gaussian noise (batch, values), or the caller's own latents of that shape.

        Without sound they are shorter by the sound's part, which comes last: one seed gives one start either way.
        """
        seen = int(self.transformer.values + self.motion.values)
        whole = seen + int(self.hearing.values)
        length = whole if sound else seen
        if latents is not None:
            if tuple(latents.shape) != (batch_size, length):
                raise ValueError(f"latents have shape {tuple(latents.shape)}, expected {(batch_size, length)}")
            return latents.to(device=device, dtype=dtype)
        noise: Tensor = randn_tensor((batch_size, whole), generator=generator, device=device, dtype=dtype)
        return noise[:, :length]

    def decode(self, latents: Tensor, own: Given = NOTHING) -> list[Scene]:
        """Final latents -> scenes. `own` takes the place of a layer. ValueError for latents that are no numbers:
        nothing could be drawn of them."""
        if not bool(torch.isfinite(latents).all()):
            raise ValueError("the latents are not finite")
        seen, moved, _ = self.split(latents)
        parts = self.transformer.unpack(seen)
        kind = self.layers.dtype
        sprites = _pixels(self.layers.decode(parts.sprites.flatten(0, 1).to(kind)))
        tracks = self.motion.unpack(moved).float().cpu().numpy()
        dyes = parts.dyes.float().cpu().numpy()
        plates = [_pixels(self.layers.decode(one.to(kind)))[0, ..., :3] if own.plate is None else own.plate
                  for one in parts.plate.split(1)]  # fmt: skip
        shots = []
        for k, plate in enumerate(plates):
            three = list(sprites[k * SPRITES : (k + 1) * SPRITES])
            three[:DYED] = [dyed(sprite, dye) for sprite, dye in zip(three[:DYED], dyes[k], strict=True)]
            if own.sprite is not None:
                three[0] = own.sprite
            shots.append(scene(plate, three, tracks[k]))
        return shots

    def split(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents -> those of what is seen, of where it is, and of what is heard, if there are any."""
        seen, moved = int(self.transformer.values), int(self.motion.values)
        one, two, three = latents.split((seen, moved, latents.shape[1] - seen - moved), 1)
        return one, two, three

    def decode_sound(self, latents: Tensor) -> list[NDArray[np.float32]]:
        """Final latents -> two seconds of sound each."""
        heard = self.hearing.unpack(self.split(latents)[2])
        made = self.sound.decode(heard.to(self.sound.dtype)).float()
        return list(waveform(made, round(SECONDS * RATE)).cpu().numpy().astype(np.float32))

    def _flow(
        self, x: Tensor, steps: int, velocity: Callable[[Tensor, Tensor], Tensor], each: Each = _kept, shift: float = 1
    ) -> Tensor:
        """Follows the velocity from noise to latents; `each` sees the latents after every step, and may change them.
        A `shift` of more than 1 takes more of the steps where there is much noise (Esser et al., 2024, 5.3.2)."""
        even = np.linspace(1, 1 / steps, steps)
        self.scheduler.set_timesteps(sigmas=list(shift * even / (1 + (shift - 1) * even)), device=x.device)
        for step, timestep in enumerate(self.scheduler.timesteps):
            if self._interrupt:
                break
            sigma = (timestep / self.scheduler.config.num_train_timesteps).to(x.dtype)
            x = each(step, timestep, self.scheduler.step(velocity(x, sigma), timestep, x, return_dict=False)[0])
        return x

    def _guided(self, model: Any, slots: Tensor, scale: float, *more: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """The velocity of `model`, guided where there are slots of two captions for each of the latents."""

        def velocity(latents: Tensor, sigma: Tensor) -> Tensor:
            twice = len(slots) // len(latents)
            x, *others = (torch.cat([value] * twice) for value in (latents, *more))
            out: Tensor = model(x, sigma.expand(len(x)).to(x.device), slots, *others)
            if twice == 1:
                return out
            plain, told = out.chunk(2)
            return plain + scale * (told - plain)

        return velocity

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        negative_prompt: str | list[str] | None = None,
        num_inference_steps: int = STEPS,
        guidance_scale: float = 2.0,
        height: int = 512,
        width: int = 512,
        num_frames: int = 1,
        sound: bool = False,
        image: Any = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        num_images_per_prompt: int = 1,
        output_type: str = "pil",
        callback_on_step_end: StepEnd | None = None,
        callback_on_step_end_tensor_inputs: list[str] | None = None,
        return_dict: bool = True,
    ) -> FiligranaShotOutput | tuple[Any, ...]:
        """Draws each prompt `num_images_per_prompt` times: pictures, or with `num_frames` > 1 clips of two seconds.
        What the prompt leaves open is decided by the noise, and never as the negative prompt has it.

        `image` (PIL, or uint8 (h, w, 3 or 4)): an opaque picture is what the prompt's things move before; one with
        transparency is cut out and moves as the prompt's subject would. `callback_on_step_end(pipe, step,
        timestep, {"latents": ...})` runs after every step of what is seen, when it is known where it will be, and
        may return other latents of both; what it raises leaves this call, and the pipeline can be called again.
        """
        wanted = ["latents"] if callback_on_step_end_tensor_inputs is None else callback_on_step_end_tensor_inputs
        prompts = self.check_inputs(
            prompt, negative_prompt, (width, height), num_frames, num_inference_steps, output_type, wanted
        )
        own = NOTHING if image is None else given(image)
        self._interrupt = False
        against = negative_prompt if isinstance(negative_prompt, list) else [negative_prompt or ""] * len(prompts)
        prompts, against = (
            [text for text in texts for _ in range(num_images_per_prompt)] for texts in (prompts, against)
        )
        x = self.prepare_latents(len(prompts), self.reader.dtype, self._execution_device, generator, latents, sound)
        seen, moved, heard = self.split(x)
        told, plain = self.plan(prompts, against, moved[:, : len(PLAN)])
        slots = torch.cat((plain, told)) if guidance_scale > 1 else told
        # a plan leaves one motion: there is nothing to be guided to
        moved = self._flow(moved, num_inference_steps, self._guided(self.motion, told, 1), shift=SHIFT)
        with self.progress_bar(total=num_inference_steps) as bar:

            def each(step: int, timestep: Tensor, now: Tensor) -> Tensor:
                nonlocal moved
                if callback_on_step_end is not None:
                    values = {"latents": torch.cat((now, moved), 1)} if wanted else {}
                    given_back = callback_on_step_end(self, step, timestep, values) or {}
                    if "latents" in given_back:
                        now, moved, _ = self.split(given_back["latents"])
                bar.update()
                return now

            velocity = self._guided(self.transformer, slots, guidance_scale)
            seen = self._flow(seen, num_inference_steps, velocity, each)
        if sound:
            velocity = self._guided(self.hearing, slots, guidance_scale, self.motion.unpack(moved))
            heard = self._flow(heard, num_inference_steps, velocity)
        x = torch.cat((seen, moved, heard), 1)
        shown = x if output_type == "latent" else self._shown(self.decode(x, own), width, num_frames, output_type)
        audio = self.decode_sound(x) if sound and output_type != "latent" else None
        self.maybe_free_model_hooks()  # type: ignore[no-untyped-call]
        out = FiligranaShotOutput(
            images=shown if num_frames == 1 else None, frames=shown if num_frames > 1 else None, audio=audio
        )
        return out if return_dict else tuple(v for v in (out.images, out.frames, out.audio) if v is not None)

    def _shown(self, scenes: list[Scene], side: int, count: int, output_type: str) -> Any:
        if output_type == "scene":
            return scenes
        drawn: Iterator[list[Image]] = (list(frames(shot, side, count)) for shot in scenes)
        if output_type == "np":
            arrays = [np.stack(shot).astype(np.float32) / 255 for shot in drawn]
            return np.concatenate(arrays) if count == 1 else arrays
        pictures = [[Pillow.fromarray(one) for one in shot] for shot in drawn]
        return [shot[0] for shot in pictures] if count == 1 else pictures


def _pixels(layers: Tensor) -> Image:
    """Decoded layers (N, 4, h, w) -> premultiplied uint8 (N, h, w, 4)."""
    whole = (layers.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    # premultiplied colour can't exceed what is covered; and what is all but transparent is transparent
    alpha = np.where(whole[..., 3:] < 10, 0, whole[..., 3:])
    return np.asarray(np.concatenate((np.minimum(whole[..., :3], alpha), alpha), -1), np.uint8)
