"""The two rankers as tables of numbers; presets and recipes differ in these data, not in code."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Width = Annotated[int, Field(ge=1, le=65_536)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class EmbeddingSettings(BaseModel):
    """The tables that turn bucket numbers into vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Width = 16
    """Numbers per vector, the same for every categorical feature and the caption."""
    caption_pooling: Literal["mean", "attention"] = "mean"
    """How the vectors of a caption's tokens become one: their mean, or a mean weighted by a learned softmax."""
    init_std: Annotated[float, Field(gt=0.0, le=1.0)] = 0.01
    """Standard deviation of the vectors before training: small, so that a bucket never trained says almost nothing."""


class DCNSettings(BaseModel):
    """DCN-v2 in its parallel form: cross layers and a deep network side by side (arXiv 2008.13535, section 3)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["dcn"] = "dcn"
    embedding: EmbeddingSettings = EmbeddingSettings()
    cross_layers: Annotated[int, Field(ge=1, le=16)] = 2
    """Each raises the highest order of feature interaction by one."""
    cross_rank: Width | None = None
    """Rank of each cross layer's matrix; null keeps it full."""
    deep: tuple[Width, ...] = (64, 32)
    """Widths of the deep network beside the crosses; empty leaves it out."""
    dropout: Share = 0.0
    """Share of the input vector and of each deep layer that is zeroed in training."""


class DLRMSettings(BaseModel):
    """DLRM: a bottom network for dense features, dot products of all pairs, a top network (arXiv 1906.00091)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["dlrm"]
    embedding: EmbeddingSettings = EmbeddingSettings()
    bottom: tuple[Width, ...] = (32,)
    """Widths of the hidden layers from the dense features to one vector of the embedding's size."""
    top: tuple[Width, ...] = (64, 32)
    """Widths of the layers after the dot products."""
    dropout: Share = 0.0
    """Share of each vector and of each top layer that is zeroed in training."""


RankerConfig = Annotated[DCNSettings | DLRMSettings, Field(discriminator="architecture")]
