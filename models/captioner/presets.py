"""Presets: every captioner that the project runs is this data and the same code."""

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from models.captioner.errors import UnknownPresetError

IMAGE_TOKEN = "<image>"
TINY = Path(__file__).parent / "tiny"


class Preset(BaseModel):
    """Which model, how it is asked, and how it runs. Any LLaVA-1.5 checkpoint loads by a Preset of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="Stored with every caption as its captioner's name.")
    source: str = Field(
        min_length=1,
        description="A local folder, a hub id (owner/name), or an object-store URI that fsspec knows (s3://, gs://).",
    )
    revision: str | None = Field(default=None, description="The hub's branch, tag or commit; only for a hub id.")
    weights: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="Digest of the weights (`models.captioner.source.weights_digest`): others are refused.",
    )
    purpose: str = Field(
        default="", description="What this captioner reads, for whoever asks it; empty where nobody has said."
    )
    prompt: str = Field(description="The prompt template, with exactly one <image>.")
    max_new_tokens: int = Field(
        default=64, ge=1, le=4096, description="A caption ends here at the latest, by finish='length'."
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="The weights' type in memory."
    )
    device: str = Field(
        default="auto", description="'auto' is cuda when there is one, else cpu; or a torch device's name."
    )
    max_batch: int = Field(
        default=64, ge=1, description="Pictures in one forward pass; a longer list is cut into such batches."
    )
    image_side_limit: int = Field(
        default=2048, ge=1, description="A picture with a longer side is first reduced to this side (pixels)."
    )
    verified: bool = Field(
        default=False, description="Refuse a folder without SHA256SUMS; with one, it is always checked."
    )
    max_model_len: int = Field(
        default=1024, ge=1, description="vLLM only: tokens of prompt, image and caption together."
    )

    @field_validator("prompt")
    @classmethod
    def _one_image(cls, prompt: str) -> str:
        if prompt.count(IMAGE_TOKEN) != 1:
            raise ValueError(f"expected exactly one {IMAGE_TOKEN}, found {prompt.count(IMAGE_TOKEN)} in {prompt!r}")
        return prompt


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="tiny",
            source=str(TINY),
            purpose="drawn scenes of this project only; not photographs",
            prompt="USER: <image>\nASSISTANT:",
            max_new_tokens=40,
            device="cpu",
            verified=True,
        ),
        Preset(
            name="llava-7b",
            source="llava-hf/llava-1.5-7b-hf",
            purpose="photographs, drawings and posters",
            prompt="USER: <image>\nDescribe the picture in one sentence: what it shows, where and in which style. "
            "ASSISTANT:",
            max_new_tokens=64,
            dtype="float16",
            max_batch=16,
        ),
    )
}


def is_hub_id(source: str) -> bool:
    """Whether it reads owner/name, and is no folder here."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", source) is not None and not Path(source).is_dir()


def preset(name_or_source: str) -> Preset:
    """A preset by its name, or llava-7b's preset over another LLaVA-1.5 checkpoint: a folder, a hub id or a URI.

    Raises:
        UnknownPresetError: neither; the message lists the presets and says what a source looks like.
    """
    found = PRESETS.get(name_or_source)
    if found is not None:
        return found
    if "://" in name_or_source or is_hub_id(name_or_source) or Path(name_or_source).is_dir():
        name = name_or_source.rstrip("/").rsplit("/", 1)[-1]
        return PRESETS["llava-7b"].model_copy(update={"name": name, "source": name_or_source, "purpose": ""})
    raise UnknownPresetError(
        f"preset={name_or_source!r}: expected one of {', '.join(sorted(PRESETS))}, a folder that exists, "
        "a hub id (owner/name), or a URI (s3://bucket/folder) of a LLaVA checkpoint"
    )
