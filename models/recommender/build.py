"""A ranker for a contract: the contract decides the inputs, the config the network between them and the score."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.contract import Contract
from models.recommender.config import DCNSettings, DLRMSettings, EmbeddingSettings, RankerConfig
from models.recommender.dcn import DCN
from models.recommender.dlrm import DLRM
from models.recommender.embeddings import CaptionEmbedding, CategoricalEmbeddings


class Ranker(nn.Module):
    """Tensors of a contract, in the order of `contract.tensors`, to a probability per row.

    dense float32 [rows, D], categorical int64 [rows, C], caption int64 [rows, T] or [rows, T, k]; those that the
    contract lacks are left out of the arguments too.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        categorical: CategoricalEmbeddings | None,
        caption: CaptionEmbedding | None,
        interaction: DCN | DLRM,
    ) -> None:
        super().__init__()
        self.inputs = tuple(inputs)
        self.categorical = categorical
        self.caption = caption
        self.interaction = interaction

    def forward(self, *tensors: Tensor) -> Tensor:
        """Probabilities float32 [rows]."""
        return torch.sigmoid(self.logits(*tensors))

    def logits(self, *tensors: Tensor) -> Tensor:
        """Log odds float32 [rows], for the loss."""
        by_name = dict(zip(self.inputs, tensors, strict=True))
        caption = None if self.caption is None else self.caption(by_name["caption"])
        return self.logits_of(by_name.get("dense"), by_name.get("categorical"), caption)

    def logits_of(self, dense: Tensor | None, categorical: Tensor | None, caption: Tensor | None) -> Tensor:
        """Log odds from captions that are vectors already, float32 [rows, size]: training pools each item's once."""
        fields = []
        if self.categorical is not None:
            fields.append(self.categorical(categorical))  # [rows, C, size]
        if caption is not None:
            fields.append(caption.unsqueeze(1))  # [rows, 1, size]
        logits: Tensor
        if isinstance(self.interaction, DLRM):
            logits = self.interaction(torch.cat(fields, dim=1), dense)
        else:
            flat = [vectors.flatten(1) for vectors in fields] + ([] if dense is None else [dense])
            logits = self.interaction(torch.cat(flat, dim=1))
        return logits


def build_ranker(contract: Contract, config: RankerConfig, *, seed: int = 0) -> Ranker:
    """A ranker with random weights; the same seed gives the same weights and leaves the global generator alone.

    Raises:
        ValueError: DLRM for a contract of dense features only, which has no vectors to multiply.
    """
    embedding = config.embedding
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        categorical = _categorical(contract, embedding)
        caption = _caption(contract, embedding)
        fields = len(contract.categorical) + (caption is not None)
        interaction = _interaction(config, fields, len(contract.dense))
    return Ranker([tensor.name for tensor in contract.tensors], categorical, caption, interaction)


def _categorical(contract: Contract, embedding: EmbeddingSettings) -> CategoricalEmbeddings | None:
    if not contract.categorical:
        return None
    return CategoricalEmbeddings([f.buckets for f in contract.categorical], embedding.size, embedding.init_std)


def _caption(contract: Contract, embedding: EmbeddingSettings) -> CaptionEmbedding | None:
    if contract.caption is None:
        return None
    return CaptionEmbedding(contract.caption.table_sizes, embedding.size, embedding.init_std, embedding.caption_pooling)


def _interaction(config: RankerConfig, fields: int, dense: int) -> DCN | DLRM:
    size = config.embedding.size
    match config:
        case DCNSettings():
            return DCN(fields * size + dense, config.cross_layers, config.cross_rank, config.deep, config.dropout)
        case DLRMSettings():
            if not fields:
                raise ValueError("architecture dlrm needs a categorical feature or a caption; choose dcn")
            return DLRM(fields, size, dense, config.bottom, config.top, config.dropout)
