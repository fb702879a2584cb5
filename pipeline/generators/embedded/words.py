"""The words of the shot family: five languages in one vocabulary, Chinese by its characters.

Words are compared in lower case without accents. What is no known word becomes [UNK]; `unknown.py` names those.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

PAD, UNKNOWN, END = "[PAD]", "[UNK]", "[END]"
ENDINGS = ("##s", "##es", "##ish", "##y")
LENGTH = 48
"""Tokens of a caption; longer ones are cut."""


def _normalizer() -> Any:
    from tokenizers import Regex, normalizers

    return normalizers.Sequence(
        [
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[^\p{L}]+"), " "),
        ]
    )


def _splitter() -> Any:
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated")]
    )


def split_words(text: str) -> list[str]:
    """The words, and Chinese characters, as the tokenizer looks them up."""
    return [word for word, _ in _splitter().pre_tokenize_str(_normalizer().normalize_str(text))]


def build_words(texts: Iterable[str]) -> list[str]:
    """Every word of `texts` once, sorted."""
    return sorted({word for text in texts for word in split_words(text)})


def build_shot_tokenizer(words: list[str], length: int = LENGTH, end: bool = False) -> Any:
    """A `PreTrainedTokenizerFast` over `words` and a few endings; id 0 is padding, 1 is unknown.

    With `end` every caption closes with [END], the highest id, where open_clip's text tower is read out.
    """
    from tokenizers import Tokenizer, models, processors
    from transformers import PreTrainedTokenizerFast

    listed = dict.fromkeys((PAD, UNKNOWN, *ENDINGS, *words, *([END] if end else ())))
    vocabulary = {word: index for index, word in enumerate(listed)}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=40))
    core.normalizer, core.pre_tokenizer = _normalizer(), _splitter()
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
