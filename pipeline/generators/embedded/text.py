"""The caption encoder: words to vectors, trained together with the transformer.

The tokenizer is a `transformers` fast tokenizer over whole words (lower case, articles dropped); words that
it doesn't know become [UNK], which training has seen often enough to pass over.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from .attention import Attention, FeedForward, RMSNorm

PAD, UNKNOWN, END = "[PAD]", "[UNK]", "[END]"
ENDINGS = ("##s", "##es", "##ish", "##y")


class FiligranaTextEncoder(ModelMixin, ConfigMixin):
    """Token ids (N, words) int64 -> word vectors (N, words, width) and a pooled caption vector (N, width)."""

    config_name = "config.json"  # type: ignore[assignment]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, vocabulary_size: int = 256, words: int = 16, width: int = 256, depth: int = 2, heads: int = 4
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.position = nn.Parameter(torch.randn(words, width) * 0.02)
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(2 * depth))
        self.attentions = nn.ModuleList(Attention(width, heads) for _ in range(depth))
        self.mlps = nn.ModuleList(FeedForward(width, 2) for _ in range(depth))
        self.final = RMSNorm(width)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ids (N, words), 0 = padding -> (word vectors, pooled vector, mask (N, words) of real words).

        The first position always counts as a word, so that an empty caption has something to attend to.
        """
        mask = ids != 0
        mask = torch.cat((torch.ones_like(mask[:, :1]), mask[:, 1:]), 1)
        x = self.embedding(ids) + self.position
        seen = mask[:, None, None, :]
        for index, (attention, mlp) in enumerate(zip(self.attentions, self.mlps, strict=True)):
            x = x + attention(self.norms[2 * index](x), mask=seen)
            x = x + mlp(self.norms[2 * index + 1](x))
        x = self.final(x)
        weight = mask[..., None].to(x.dtype)
        return x, (x * weight).sum(1) / weight.sum(1), mask


def build_tokenizer(words: list[str], length: int = 16, end: bool = False) -> Any:
    """A `PreTrainedTokenizerFast` over `words` plus a few endings; id 0 is padding, 1 is unknown.

    With `end` every caption closes with [END], the highest id, where open_clip's text tower is read out.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate((PAD, UNKNOWN, *ENDINGS, *words, *([END] if end else ())))}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=40))
    core.normalizer = normalizers.Sequence(
        [
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\b(a|an|the)\b"), " "),
            normalizers.Replace(Regex(r"[^\p{L}]+"), " "),
        ]
    )
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if end:
        core.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, vocabulary[END])])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token=UNKNOWN, pad_token=PAD, model_max_length=length, padding_side="right"
    )


def tokenize(tokenizer: Any, captions: list[str], length: int) -> Tensor:
    """Captions -> (N, length) int64 ids, padded and cut."""
    ids: Tensor = tokenizer(
        captions, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    ).input_ids
    return ids
