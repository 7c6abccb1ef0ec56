"""A LLaVA checkpoint's files, loaded and found to belong together.

Only config.json, the weights and the tokenizer are needed: what a processor's files say of the model follows from its
configuration, and many checkpoints lack them or disagree (hub files from before transformers 4.45 have no patch_size).
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoTokenizer,
    CLIPImageProcessorPil,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerBase,
)

from models.captioner.errors import REBUILD, CaptionerLoadError
from models.captioner.presets import IMAGE_TOKEN

REMEDY = f"for the tiny captioner run `{REBUILD}`; otherwise fetch the checkpoint again"
_IMAGE_FILES = ("processor_config.json", "preprocessor_config.json")
_FAULTS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    RuntimeError,
    ImportError,
    AssertionError,
)


def load_model(folder: Path, dtype: torch.dtype) -> LlavaForConditionalGeneration:
    """The model, from safetensors only.

    Raises:
        CaptionerLoadError: config.json is not of a LLaVA model, or the weights are unreadable or do not fit it.
    """
    kind = _config(folder).get("model_type")
    if kind != "llava":
        raise CaptionerLoadError(
            str(folder / "config.json"), f"model_type is {kind!r}, expected 'llava'", "give a LLaVA-1.5 checkpoint"
        )
    try:
        model, found = LlavaForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True, use_safetensors=True
        )
    except (*_FAULTS, SafetensorError) as error:
        raise CaptionerLoadError(str(folder), f"weights or config.json cannot be read ({error})", REMEDY) from error
    # transformers fills missing tensors with random numbers and only logs it: such a model must never caption.
    faults = {name: sorted(map(str, found[name])) for name in ("missing_keys", "mismatched_keys") if found[name]}
    if faults:
        raise CaptionerLoadError(str(folder), f"weights do not fit config.json: {faults}", REMEDY)
    return model


def load_processor(folder: Path, model: LlavaForConditionalGeneration) -> LlavaProcessor:
    """The processor as `model`'s configuration wants it: patches, tokens of a picture, its size, the image token's id.

    Always on the PIL backend: captions must not depend on torchvision being installed.

    Raises:
        CaptionerLoadError: tokenizer files are missing or unreadable, or of another model; names the key.
    """
    config, vision = model.config, model.config.vision_config
    tokenizer = _tokenizer(folder)
    images = _image_processor(folder, vision)
    known = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    if known != config.image_token_id:
        raise CaptionerLoadError(
            str(folder),
            f"the tokenizer has {IMAGE_TOKEN} as {known}, config.json says image_token_index {config.image_token_id}",
            "fetch tokenizer and config.json of one checkpoint",
        )
    words = model.get_input_embeddings().num_embeddings
    if config.image_token_id >= words or len(tokenizer) > words:
        raise CaptionerLoadError(
            str(folder),
            f"the tokenizer has {len(tokenizer)} tokens, the weights {words} (vocab_size)",
            "fetch tokenizer and weights of one checkpoint",
        )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=_wanted(folder, vision, "patch_size"),
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=_additional(vision),
        image_token=IMAGE_TOKEN,
    )


def end_ids(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that end a caption.

    Raises:
        CaptionerLoadError: no file names one.
    """
    named = (model.generation_config.eos_token_id, model.config.text_config.eos_token_id, tokenizer.eos_token_id)
    found = next((ends for ends in named if ends is not None), None)
    if found is None:
        raise CaptionerLoadError(
            "config.json", "eos_token_id: named in no file, no caption would end", "set it in generation_config.json"
        )
    return frozenset(found if isinstance(found, list) else [found])


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CaptionerLoadError(str(path), f"cannot be read ({error})", REMEDY) from error
    return document if isinstance(document, dict) else {}


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_fast=True
        )
        tokenizer.encode("a", add_special_tokens=False)
    except _FAULTS as error:
        raise CaptionerLoadError(str(folder), f"tokenizer files cannot be read ({error})", REMEDY) from error
    return tokenizer


def _image_processor(folder: Path, vision: Any) -> CLIPImageProcessorPil:
    """From the checkpoint's files; without any, CLIP's own values at the size of `vision`."""
    side = _wanted(folder, vision, "image_size")
    try:
        if any((folder / name).is_file() for name in _IMAGE_FILES):
            images = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
        elif vision.model_type == "clip_vision_model":
            return CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
        else:
            raise CaptionerLoadError(
                str(folder / _IMAGE_FILES[1]),
                f"missing, and a {vision.model_type} has no values of its own",
                "fetch the whole checkpoint",
            )
    except _FAULTS as error:
        raise CaptionerLoadError(str(folder), f"processor files cannot be read ({error})", REMEDY) from error
    crop = images.crop_size
    if images.do_center_crop and (crop["height"], crop["width"]) != (side, side):
        raise CaptionerLoadError(
            str(folder),
            f"crop_size is {crop['height']}x{crop['width']}, config.json says vision_config.image_size {side}",
            "fetch processor files and config.json of one checkpoint",
        )
    return images


def _wanted(folder: Path, vision: Any, key: str) -> int:
    value = getattr(vision, key, None)
    if not isinstance(value, int) or value < 1:
        raise CaptionerLoadError(
            str(folder / "config.json"), f"vision_config.{key} is {value!r}, expected a number of pixels", REMEDY
        )
    return value


def _additional(vision: Any) -> int:
    """Tokens of the vision tower that are no patch: CLIP's class token."""
    return 1 if vision.model_type == "clip_vision_model" else 0
