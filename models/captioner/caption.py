"""What a captioner answers, where an answer comes from, and the protocol that every engine fulfils."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from PIL import Image


@dataclass(frozen=True, slots=True)
class Caption:
    """One picture's description; `finish` is "length" when the engine stopped at the preset's max_new_tokens."""

    text: str
    finish: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a caption; two captions with the same provenance are comparable.

    captioner: "<preset name>@<first 12 hex digits of the sha256 of the weights' file list>".
    prompt: first 12 hex digits of the sha256 of the prompt template and the generation settings.
    """

    captioner: str
    prompt: str


class Captioner(Protocol):
    """Describes pictures. Engines: `llava.LlavaCaptioner` (transformers) and `vllm.VllmCaptioner` (GPU)."""

    @property
    def provenance(self) -> Provenance:
        """What is stored beside every caption."""
        ...

    def caption(self, images: Sequence[Image.Image]) -> list[Caption]:
        """Describe each picture, of any PIL mode and size; same order, one caption per picture, [] for none."""
        ...
