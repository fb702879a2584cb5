"""Tiny models of the real classes, taught two prompts each, with tokenizers that are trained on their own formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

HARMLESS, HARMFUL = "a red boat on the sea", "plans for a nail bomb"

LLAMA = (
    "{{ bos_token }}<|start_header_id|>user<|end_header_id|>\n\nTask: Check if there is unsafe content in 'User' messages."
    "\n\n<BEGIN CONVERSATION>\n\nUser: {{ messages[0]['content'] | trim }}\n\n<END CONVERSATION>\n\n"
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>"
)
LLAMA_PARTS = LLAMA.replace("messages[0]['content'] | trim", "messages[0]['content'][0]['text'] | trim")
GEMMA = (
    "{{ bos_token }}You are a policy expert.\n\n<start_of_turn>\nHuman Question: {{ messages[0]['content'] | trim }}\n"
    "<end_of_turn>\n\nOur safety principles are defined in the below:\n\n{{ guideline }}\n\nYour answer must start with "
    "'Yes' or 'No'.\n\n"
)
GRANITE = (
    "<|start_of_role|>user<|end_of_role|>You are a safety agent.\n\n<start_of_turn>\nUser Message: "
    "{{ messages[0]['content'] }}\n<end_of_turn>\n\n<start_of_risk_definition>{{ guardian_config['risk_name'] }}"
    "<end_of_risk_definition>\nYour answer must be either 'Yes' or 'No'.<|end_of_text|>\n"
    "<|start_of_role|>assistant<|end_of_role|>"
)
QWEN = (
    "<|im_start|>user\nTask: Please identify whether there is unsafe content.\n\n<BEGIN CONVERSATION>\n\nUSER: "
    "{{ messages[0]['content'] }}\n\n<END CONVERSATION>\n\n<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
)
SPECIAL = {
    "llama": ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"],
    "llama4": ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"],
    "gemma2": ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"],
    "granite": ["<|begin|>", "<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"],
    "qwen3": ["<|endoftext|>", "<|im_end|>", "<|im_start|>", "<|fim|>"],
}
"""The beginning first, then the end."""
WORDS = ["safe", "unsafe", "Safe", "Unsafe", "Controversial", "Yes", "No", "Safety", "Categories"]
Lesson = tuple[str, dict[str, Any], str]


def tokenizer_for(kind: str, template: str | None, texts: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIAL[kind], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(
        [*texts, *WORDS, *(" " + word for word in WORDS), *("\n" + word for word in WORDS)] * 30, trainer
    )
    begin, end, *more = SPECIAL[kind]
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=begin, eos_token=end, additional_special_tokens=more
    )
    wrapped.chat_template = template
    return wrapped


def network_for(kind: str, size: int, positions: int, ids: dict[str, int]) -> Any:
    import torch
    import transformers as tf

    torch.manual_seed(3)
    common: dict[str, Any] = {
        "vocab_size": size, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 12, "max_position_embeddings": positions, "bos_token_id": ids["begin"],
        "eos_token_id": ids["end"], "pad_token_id": ids["end"],
    }  # fmt: skip
    if kind == "llama":
        return tf.LlamaForCausalLM(tf.LlamaConfig(**common))
    if kind == "llama4":
        text = common | {
            "intermediate_size_mlp": 96, "num_local_experts": 1, "num_experts_per_tok": 1, "attention_chunk_size": positions,
        }  # fmt: skip
        sight = {
            "hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 96, "image_size": 28,
            "patch_size": 14, "vision_output_dim": 48, "projector_input_dim": 48, "projector_output_dim": 48,
        }  # fmt: skip
        return tf.Llama4ForConditionalGeneration(tf.Llama4Config(text_config=text, vision_config=sight))
    if kind == "gemma2":
        return tf.Gemma2ForCausalLM(tf.Gemma2Config(**common, query_pre_attn_scalar=12))
    if kind == "granite":
        return tf.GraniteForCausalLM(tf.GraniteConfig(**{k: v for k, v in common.items() if k != "head_dim"}))
    return tf.Qwen3ForCausalLM(tf.Qwen3Config(**common))


def taught(
    folder: Path,
    kind: str,
    template: str | None,
    lessons: Sequence[Lesson],
    *,
    render: Any = None,
    steps: int = 60,
    positions: int = 1024,
    in_parts: bool = False,
) -> Path:
    """A model in ``folder`` that answers each lesson's (prompt, template options) with its text. ``steps=0``: chance."""
    import torch

    torch.set_num_threads(1)  # so small that threads would only wait for each other

    def prompt(tokenizer: Any, text: str, options: dict[str, Any]) -> str:
        if template is None:
            return str(render(tokenizer, text, options))
        content: Any = [{"type": "text", "text": text}] if in_parts else text
        return str(tokenizer.apply_chat_template([{"role": "user", "content": content}], tokenize=False, **options))

    draft = tokenizer_for(kind, template, WORDS)
    texts = [prompt(draft, text, options) + answer for text, options, answer in lessons]
    tokenizer = tokenizer_for(kind, template, texts)
    network = network_for(
        kind, len(tokenizer), positions, {"begin": tokenizer.bos_token_id, "end": tokenizer.eos_token_id}
    )
    learn = torch.optim.AdamW(network.parameters(), lr=1e-2)
    rows = []
    for text, options, answer in lessons:
        asked = tokenizer(prompt(tokenizer, text, options), add_special_tokens=False)["input_ids"]
        said = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        rows.append((asked + said, [-100] * len(asked) + said))
    long = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([[*given, *[tokenizer.eos_token_id] * (long - len(given))] for given, _ in rows])
    labels = torch.tensor([[*wanted, *[-100] * (long - len(wanted))] for _, wanted in rows])
    network.train()
    for _ in range(steps):
        learn.zero_grad()
        loss = network(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        learn.step()
        if loss.item() < 0.005:
            break
    network.generation_config.eos_token_id = tokenizer.eos_token_id
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
