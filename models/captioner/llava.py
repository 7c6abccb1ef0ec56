"""The reference engine: any LLaVA-1.5 checkpoint in transformers, on a CPU or a GPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerBase,
)

from models.captioner.caption import Caption, Provenance
from models.captioner.checkpoint import REMEDY, end_ids, load_model, load_processor
from models.captioner.errors import CaptionerLoadError
from models.captioner.pixels import to_rgb
from models.captioner.presets import Preset
from models.captioner.prompt import provenance
from models.captioner.source import CACHE, fetch, verify, weights_digest


class LlavaCaptioner:
    """Greedy captions in batches. A caption depends on its picture alone, not on its neighbours or the batch's size."""

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        processor: LlavaProcessor,
        *,
        prompt: str,
        max_new_tokens: int,
        max_batch: int,
        image_side_limit: int,
        provenance: Provenance,
    ) -> None:
        self._model = model
        self._processor = processor
        self._tokenizer: PreTrainedTokenizerBase = processor.tokenizer
        self._prompt = prompt
        self._max_new_tokens = max_new_tokens
        self._max_batch = max_batch
        self._image_side_limit = image_side_limit
        self._provenance = provenance
        self._ends = end_ids(model, self._tokenizer)

    @classmethod
    def load(cls, preset: Preset, cache: Path = CACHE) -> "LlavaCaptioner":
        """Load a preset's checkpoint; `cache` holds copies of object-store folders.

        Raises:
            CaptionerLoadError: a file is missing, changed or unreadable, or is not of a LLaVA model.
        """
        folder = fetch(preset.source, preset.revision, cache)
        verify(folder, required=preset.verified)
        digest = weights_digest(folder, preset.weights)
        model = load_model(folder, getattr(torch, preset.dtype)).to(_device(preset.device))
        captioner = cls(
            model.eval(),
            load_processor(folder, model),
            prompt=preset.prompt,
            max_new_tokens=preset.max_new_tokens,
            max_batch=preset.max_batch,
            image_side_limit=preset.image_side_limit,
            provenance=provenance(preset.name, digest, preset.prompt, preset.max_new_tokens),
        )
        captioner.check(str(folder))
        return captioner

    def check(self, where: str) -> None:
        """Ask for one grey picture's first token.

        Raises:
            CaptionerLoadError: the prompt and the model's files do not fit one another; better now than in a request.
        """
        try:
            inputs = self._inputs([Image.new("RGB", (64, 64), (128, 128, 128))])
            with torch.inference_mode():
                self._model(**inputs, logits_to_keep=1)
        except (ValueError, TypeError, KeyError, IndexError, RuntimeError) as error:
            raise CaptionerLoadError(
                where, f"its files load and cannot caption a grey picture ({type(error).__name__}: {error})", REMEDY
            ) from error

    @property
    def provenance(self) -> Provenance:
        """What is stored beside every caption."""
        return self._provenance

    def caption(self, images: Sequence[Image.Image]) -> list[Caption]:
        """Describe each picture, of any PIL mode and size; same order, one caption per picture, [] for none."""
        captions: list[Caption] = []
        for start in range(0, len(images), self._max_batch):
            captions += self._batch(images[start : start + self._max_batch])
        return captions

    @torch.inference_mode()
    def _batch(self, images: Sequence[Image.Image]) -> list[Caption]:
        inputs = self._inputs([to_rgb(image, self._image_side_limit) for image in images])
        ids = self._decode(inputs["input_ids"], inputs["pixel_values"]).tolist()
        return [self._read(row) for row in ids]

    def _inputs(self, pictures: list[Image.Image]) -> Any:
        # Every row has the same prompt and as many image tokens, so no row needs padding.
        inputs = self._processor(images=pictures, text=[self._prompt] * len(pictures), return_tensors="pt")
        return inputs.to(self._model.device, dtype=self._model.dtype)

    def _decode(self, ids: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """Greedy ids [N, new] with a key-value cache; what follows an end is meaningless."""
        said: list[torch.Tensor] = []
        ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        ends = torch.tensor(sorted(self._ends), device=ids.device)
        out = self._model(input_ids=ids, pixel_values=pixels, use_cache=True, logits_to_keep=1)
        while True:
            new = out.logits[:, -1].argmax(dim=-1)
            said.append(new)
            ended |= torch.isin(new, ends)
            if len(said) == self._max_new_tokens or bool(ended.all()):
                return torch.stack(said, dim=1)
            out = self._model(input_ids=new[:, None], past_key_values=out.past_key_values, use_cache=True)

    def _read(self, row: list[int]) -> Caption:
        stops = [i for i, token in enumerate(row) if token in self._ends]
        words = row[: stops[0]] if stops else row
        text = self._tokenizer.decode(words, skip_special_tokens=True).strip()
        return Caption(text=text, finish="stop" if stops else "length")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
