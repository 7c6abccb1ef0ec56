"""The GPU engine: vLLM's offline API behind the same protocol. Import this module only where vLLM is installed.

Not run by this project's own tests, which have no GPU: they check what is asked of vLLM against a stand-in. The tiny
checkpoint has the hub's tensor names, which vLLM loads.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from models.captioner.caption import Caption, Provenance
from models.captioner.errors import CaptionerLoadError
from models.captioner.pixels import to_rgb
from models.captioner.presets import Preset
from models.captioner.prompt import provenance
from models.captioner.source import CACHE, fetch, verify, weights_digest


class VllmCaptioner:
    """Greedy captions by vLLM's continuous batching."""

    def __init__(
        self,
        engine: Any,
        sampling: Any,
        *,
        prompt: str,
        max_batch: int,
        image_side_limit: int,
        provenance: Provenance,
    ) -> None:
        self._engine = engine
        self._sampling = sampling
        self._prompt = prompt
        self._max_batch = max_batch
        self._image_side_limit = image_side_limit
        self._provenance = provenance

    @classmethod
    def load(cls, preset: Preset, cache: Path = CACHE) -> "VllmCaptioner":
        """Start an engine for a preset.

        One image a prompt, `max_num_seqs` and `max_model_len` are always set: left to itself, vLLM profiles image
        tokens for its largest case and runs out of memory (vllm#18550, #9630, #15802).

        Raises:
            CaptionerLoadError: vLLM is not installed, or the checkpoint is missing or changed.
        """
        try:
            import vllm
        except ImportError as error:
            raise CaptionerLoadError(
                "vllm", "not installed", "install it (GPU images only), or use models.captioner.llava"
            ) from error
        folder = fetch(preset.source, preset.revision, cache)
        verify(folder, required=preset.verified)
        digest = weights_digest(folder, preset.weights)
        engine = vllm.LLM(
            model=str(folder),
            dtype=preset.dtype,
            max_model_len=preset.max_model_len,
            max_num_seqs=preset.max_batch,
            limit_mm_per_prompt={"image": 1},
            trust_remote_code=False,
            seed=0,
        )
        return cls(
            engine,
            vllm.SamplingParams(temperature=0.0, max_tokens=preset.max_new_tokens),
            prompt=preset.prompt,
            max_batch=preset.max_batch,
            image_side_limit=preset.image_side_limit,
            provenance=provenance(preset.name, digest, preset.prompt, preset.max_new_tokens),
        )

    @property
    def provenance(self) -> Provenance:
        """What is stored beside every caption."""
        return self._provenance

    def caption(self, images: Sequence[Image.Image]) -> list[Caption]:
        """Describe each picture, of any PIL mode and size; same order, one caption per picture, [] for none."""
        captions: list[Caption] = []
        for start in range(0, len(images), self._max_batch):
            requests = [self._request(image) for image in images[start : start + self._max_batch]]
            answers = self._engine.generate(requests, self._sampling, use_tqdm=False)
            captions += [_read(answer.outputs[0]) for answer in answers]
        return captions

    def _request(self, image: Image.Image) -> dict[str, object]:
        return {"prompt": self._prompt, "multi_modal_data": {"image": to_rgb(image, self._image_side_limit)}}


def _read(output: Any) -> Caption:
    finish: Literal["stop", "length"] = "length" if output.finish_reason == "length" else "stop"
    return Caption(text=output.text.strip(), finish=finish)
