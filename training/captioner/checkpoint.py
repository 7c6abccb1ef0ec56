"""The captioner's folder as the hub lays it out: weights under the hub's names, processor, tokenizer, sums."""

import copy
import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import GenerationConfig, LlavaForConditionalGeneration

from training.captioner.architecture import processor

WEIGHTS = "model.safetensors"
SUMS = "SHA256SUMS"
# transformers 5 renames on loading; checkpoints on the hub, and every other engine, have the names on the right.
HUB_NAMES: tuple[tuple[str, str], ...] = (
    ("lm_head.", "language_model.lm_head."),
    ("model.language_model.", "language_model.model."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.vision_tower.", "vision_tower.vision_model."),
)


def hub_name(name: str) -> str:
    """The hub's name of a transformers 5 parameter of LLaVA.

    Raises:
        ValueError: the parameter belongs to none of LLaVA's parts.
    """
    for ours, hubs in HUB_NAMES:
        if name.startswith(ours):
            return hubs + name.removeprefix(ours)
    raise ValueError(f"parameter {name!r} is in none of {', '.join(ours for ours, _ in HUB_NAMES)}")


def hub_tensors(model: LlavaForConditionalGeneration, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The model's tensors under the hub's names, copied to `dtype`."""
    return {
        hub_name(name): tensor.detach().to(dtype).contiguous()
        for name, tensor in model.state_dict().items()
        if not name.endswith("position_ids")
    }


def save(
    model: LlavaForConditionalGeneration, tokenizer: Tokenizer, folder: Path, dtype: torch.dtype = torch.float16
) -> None:
    """Write the checkpoint's files and their sums to `folder`; `publish` moves a finished folder to its place."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(hub_tensors(model, dtype), folder / WEIGHTS, metadata={"format": "pt"})
    config = copy.deepcopy(model.config)
    config.architectures = ["LlavaForConditionalGeneration"]
    config.dtype = dtype
    config.save_pretrained(folder)
    text = config.text_config
    GenerationConfig(
        bos_token_id=text.bos_token_id, eos_token_id=text.eos_token_id, pad_token_id=text.pad_token_id
    ).save_pretrained(folder)
    parts = processor(tokenizer)
    parts.save_pretrained(folder)
    parts.image_processor.save_pretrained(folder)  # preprocessor_config.json, which hub checkpoints have too
    _name_tokenizer_class(folder / "tokenizer_config.json")
    (folder / SUMS).write_text(sums(folder), encoding="ascii")


def _name_tokenizer_class(path: Path) -> None:
    """transformers 5 writes its own backend's name; LLaVA's checkpoints name LLaMA's, which every engine knows."""
    settings = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": "LlamaTokenizerFast"}
    settings.pop("backend", None)
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def sums(folder: Path) -> str:
    """`sha256sum`'s lines for every file of a folder but the sums themselves."""
    files = sorted(path for path in folder.iterdir() if path.name != SUMS)
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def publish(finished: Path, out: Path) -> None:
    """Move a finished folder's files to `out`, each flushed and in one step, the sums last.

    Interrupted in between, the sums do not match the files, and loading says so.
    """
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(finished.iterdir(), key=lambda path: path.name == SUMS):
        path.chmod(0o644)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(path, out / path.name)
