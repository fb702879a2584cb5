"""The pipelines of other houses, of diffusers' real classes with tiny random weights and alphabets for vocabularies.

Each builder returns a pipeline; ``saved`` writes one as a folder in diffusers' layout. Nothing is fetched. The factors
by which their autoencoders shrink space and time are those of the published models, since sizes and numbers of frames
hang on them.
"""

from __future__ import annotations

import json
import string
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from filigrana.pipeline.torch_compat import ready

ready()

import diffusers  # noqa: E402
import transformers  # noqa: E402
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors  # noqa: E402
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder  # noqa: E402

WIDTH = 32
"""Of the large text encoders; CLIP's are half as wide."""
LETTERS = string.ascii_lowercase


def clip_tokenizer() -> Any:
    """Reads letter by letter."""
    words = ["<|startoftext|>", "<|endoftext|>", *(f"{letter}</w>" for letter in LETTERS), *LETTERS]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, merges = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        vocabulary.write_text(json.dumps({word: number for number, word in enumerate(words)}))
        merges.write_text("#version: 0.2\n")
        return transformers.CLIPTokenizer(str(vocabulary), str(merges), model_max_length=16)


def clip(projection: bool) -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=2 + 2 * len(LETTERS), hidden_size=16, intermediate_size=16, num_hidden_layers=2, projection_dim=16,
        num_attention_heads=2, max_position_embeddings=16, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    return (transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel)(config)


def t5_tokenizer() -> Any:
    scored = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -2.0) for letter in LETTERS)]
    return transformers.T5Tokenizer(vocab=scored, extra_ids=0, model_max_length=32)


def t5(kind: str = "T5") -> Any:
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=4 + len(LETTERS), d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=4
    )
    return getattr(transformers, f"{kind}EncoderModel")(config)


def gemma_tokenizer() -> Any:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    words = {word: number for number, word in enumerate([*special, "▁", *LETTERS])}
    return transformers.GemmaTokenizer(vocab=words, model_max_length=64)


GEMMA: dict[str, Any] = {
    "vocab_size": 6 + len(LETTERS), "hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 64,
    "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
}  # fmt: skip


def picture_vae(**changes: Any) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(4,) * 4, down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=1,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, norm_num_groups=4, sample_size=256, **changes,
    )  # fmt: skip


def flow() -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler()


def wan(**changes: Any) -> Any:
    return diffusers.WanPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5("UMT5"),
        vae=diffusers.AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
        scheduler=flow(),
        transformer=wan_transformer(),
        **changes,
    )


def wan_transformer() -> Any:
    return diffusers.WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, text_dim=WIDTH, freq_dim=16, ffn_dim=16, num_layers=2,
        rope_max_seq_len=32,
    )  # fmt: skip


def ltx() -> Any:
    return diffusers.LTXPipeline(
        scheduler=flow(),
        vae=diffusers.AutoencoderKLLTXVideo(
            latent_channels=8, block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
            layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 5,
        ),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
        transformer=diffusers.LTXVideoTransformer3DModel(
            in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16,
            num_layers=2, caption_channels=WIDTH,
        ),
    )  # fmt: skip


def ltx2() -> Any:
    config = transformers.Gemma3Config(
        text_config=GEMMA,
        vision_config={
            "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
            "image_size": 28, "patch_size": 14,
        },
        mm_tokens_per_image=4,
    )  # fmt: skip
    heads: dict[str, Any] = {
        f"{kind}_connector_{name}": value
        for kind in ("video", "audio")
        for name, value in (
            ("num_attention_heads", 4), ("attention_head_dim", 8), ("num_layers", 1),
            ("num_learnable_registers", None),
        )
    }  # fmt: skip
    return diffusers.LTX2Pipeline(
        scheduler=flow(),
        vae=diffusers.AutoencoderKLLTX2Video(
            latent_channels=8, block_out_channels=(8,) * 4, decoder_block_out_channels=(8, 16, 32),
            layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 4,
            spatial_compression_ratio=32, temporal_compression_ratio=8,
        ),
        audio_vae=diffusers.AutoencoderKLLTX2Audio(
            base_channels=4, ch_mult=(1, 1, 1), num_res_blocks=1, latent_channels=2, mel_bins=8
        ),
        text_encoder=transformers.Gemma3ForConditionalGeneration(config),
        tokenizer=gemma_tokenizer(),
        connectors=LTX2TextConnectors(
            caption_channels=WIDTH, text_proj_in_factor=GEMMA["num_hidden_layers"] + 1, rope_type="split",
            rope_double_precision=False, **heads,
        ),
        transformer=diffusers.LTX2VideoTransformer3DModel(
            in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16,
            audio_in_channels=4, audio_out_channels=4, audio_num_attention_heads=2, audio_attention_head_dim=4,
            audio_cross_attention_dim=8, num_layers=2, caption_channels=WIDTH, rope_type="split",
            rope_double_precision=False,
        ),
        vocoder=LTX2Vocoder(in_channels=16, hidden_channels=32, resnet_kernel_sizes=[3], resnet_dilations=[[1]]),
    )  # fmt: skip


def cogvideox() -> Any:
    return diffusers.CogVideoXPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5(),
        vae=diffusers.AutoencoderKLCogVideoX(
            block_out_channels=(8,) * 4, latent_channels=4, layers_per_block=1, norm_num_groups=2
        ),
        transformer=diffusers.CogVideoXTransformer3DModel(
            num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=4, time_embed_dim=4,
            text_embed_dim=WIDTH, num_layers=2, sample_width=12, sample_height=8, max_text_seq_length=226,
        ),
        scheduler=diffusers.CogVideoXDPMScheduler(),
    )  # fmt: skip


def sdxl() -> Any:
    return diffusers.StableDiffusionXLPipeline(
        vae=picture_vae(),
        text_encoder=clip(projection=False),
        text_encoder_2=clip(projection=True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=diffusers.UNet2DConditionModel(
            block_out_channels=(8, 16), layers_per_block=1, sample_size=32, cross_attention_dim=32,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), norm_num_groups=4, attention_head_dim=(2, 4),
            addition_embed_type="text_time", addition_time_embed_dim=8, use_linear_projection=True,
            projection_class_embeddings_input_dim=6 * 8 + 16, transformer_layers_per_block=(1, 1),
        ),
        scheduler=diffusers.EulerDiscreteScheduler(),
        add_watermarker=False,
    )  # fmt: skip


def sd3() -> Any:
    return diffusers.StableDiffusion3Pipeline(
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=32, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2,
            joint_attention_dim=WIDTH, caption_projection_dim=16, pooled_projection_dim=32,
        ),
        scheduler=flow(),
        vae=picture_vae(shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip(projection=True),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip(projection=True),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5(),
        tokenizer_3=t5_tokenizer(),
    )  # fmt: skip


def flux() -> Any:
    return diffusers.FluxPipeline(
        scheduler=flow(),
        vae=picture_vae(shift_factor=0.1, scaling_factor=0.4, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip(projection=False),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(),
        transformer=diffusers.FluxTransformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=2, attention_head_dim=8, num_attention_heads=2,
            joint_attention_dim=WIDTH, pooled_projection_dim=16, guidance_embeds=True, axes_dims_rope=(2, 2, 4),
        ),
    )  # fmt: skip


def sana() -> Any:
    levels = 6
    blocks: dict[str, Any] = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (
            ("block_out_channels", (8,) * levels), ("layers_per_block", (1,) * levels), ("qkv_multiscales", ((),) * levels),
        )
    }  # fmt: skip
    return diffusers.SanaPipeline(
        tokenizer=gemma_tokenizer(),
        text_encoder=transformers.Gemma2Model(transformers.Gemma2Config(**GEMMA)),
        vae=diffusers.AutoencoderDC(latent_channels=4, attention_head_dim=2, **blocks),
        transformer=diffusers.SanaTransformer2DModel(
            in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=4, num_layers=2,
            num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=WIDTH,
            sample_size=16,
        ),
        scheduler=diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
    )  # fmt: skip


BUILDERS: dict[str, Callable[[], Any]] = {
    "WanPipeline": wan,
    "LTXPipeline": ltx,
    "LTX2Pipeline": ltx2,
    "CogVideoXPipeline": cogvideox,
    "StableDiffusionXLPipeline": sdxl,
    "StableDiffusion3Pipeline": sd3,
    "FluxPipeline": flux,
    "SanaPipeline": sana,
}


def saved(name: str, folder: Path) -> Path:
    """The folder, with the pipeline of this class in it."""
    torch.manual_seed(0)
    BUILDERS[name]().save_pretrained(folder, safe_serialization=True)
    return folder
