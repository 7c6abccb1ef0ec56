"""The reference engine: any LLaVA-1.5 checkpoint in transformers, on a CPU or a GPU."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import (
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerBase,
)

from models.captioner.caption import Caption, Provenance
from models.captioner.errors import REBUILD, CaptionerLoadError
from models.captioner.pixels import to_rgb
from models.captioner.presets import Preset
from models.captioner.prompt import provenance
from models.captioner.source import CACHE, fetch, verify, weights_digest

REMEDY = f"for the tiny captioner run `{REBUILD}`; otherwise fetch the checkpoint again"


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
        self._ends = _end_ids(model)

    @classmethod
    def load(cls, preset: Preset, cache: Path = CACHE) -> "LlavaCaptioner":
        """Load a preset's checkpoint; `cache` holds copies of object-store folders.

        Raises:
            CaptionerLoadError: a file is missing, changed or unreadable, or is not of a LLaVA model.
        """
        folder = fetch(preset.source, preset.revision, cache)
        verify(folder, required=preset.verified)
        device = _device(preset.device)
        model = _load_model(folder, getattr(torch, preset.dtype)).to(device)
        return cls(
            model.eval(),
            _load_processor(folder, model),
            prompt=preset.prompt,
            max_new_tokens=preset.max_new_tokens,
            max_batch=preset.max_batch,
            image_side_limit=preset.image_side_limit,
            provenance=provenance(preset.name, weights_digest(folder), preset.prompt, preset.max_new_tokens),
        )

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
        pictures = [to_rgb(image, self._image_side_limit) for image in images]
        # Every row has the same prompt and as many image tokens, so no row needs padding.
        inputs = self._processor(images=pictures, text=[self._prompt] * len(pictures), return_tensors="pt")
        inputs = inputs.to(self._model.device, dtype=self._model.dtype)
        ids = self._decode(inputs["input_ids"], inputs["pixel_values"]).tolist()
        return [self._read(row) for row in ids]

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


def _end_ids(model: LlavaForConditionalGeneration) -> frozenset[int]:
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = model.config.text_config.eos_token_id
    return frozenset(ends if isinstance(ends, list) else [ends])


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def _load_model(folder: Path, dtype: torch.dtype) -> LlavaForConditionalGeneration:
    try:
        model, found = LlavaForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CaptionerLoadError(str(folder), f"weights or config.json cannot be read ({error})", REMEDY) from error
    # transformers fills missing tensors with random numbers and only logs it: such a model must never caption.
    faults = {kind: sorted(map(str, found[kind])) for kind in ("missing_keys", "mismatched_keys") if found[kind]}
    if faults:
        raise CaptionerLoadError(str(folder), f"weights do not fit config.json: {faults}", REMEDY)
    return model


def _load_processor(folder: Path, model: LlavaForConditionalGeneration) -> LlavaProcessor:
    """The processor, always on the PIL backend: captions must not depend on torchvision being installed."""
    try:
        return LlavaProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CaptionerLoadError(
            str(folder), f"processor or tokenizer files cannot be read ({error})", REMEDY
        ) from error
