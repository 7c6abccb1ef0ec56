"""The hub's layout: the tiny checkpoint's names, and a shrunk twin of llava-1.5-7b-hf loaded by its Preset alone."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from models.captioner.llava import LlavaCaptioner
from models.captioner.presets import TINY, preset
from training.captioner.checkpoint import hub_name, hub_tensors

HUB_NAMES = {
    "language_model.lm_head.weight",
    "language_model.model.embed_tokens.weight",
    "language_model.model.layers.0.self_attn.q_proj.weight",
    "language_model.model.norm.weight",
    "multi_modal_projector.linear_1.weight",
    "multi_modal_projector.linear_2.bias",
    "vision_tower.vision_model.embeddings.class_embedding",
    "vision_tower.vision_model.embeddings.patch_embedding.weight",
    "vision_tower.vision_model.encoder.layers.0.self_attn.k_proj.bias",
    "vision_tower.vision_model.post_layernorm.weight",
    "vision_tower.vision_model.pre_layrnorm.weight",
}


def test_the_tiny_weights_have_the_hubs_names_and_few_bytes() -> None:
    with safe_open(TINY / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert names >= HUB_NAMES
    assert all(
        name.startswith(("language_model.", "multi_modal_projector.", "vision_tower.vision_model.")) for name in names
    )
    assert (TINY / "model.safetensors").stat().st_size <= 6 * 1024 * 1024


def test_the_tiny_model_is_a_llava_of_a_million_parameters() -> None:
    config = json.loads((TINY / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["LlavaForConditionalGeneration"]
    assert (config["vision_feature_layer"], config["vision_feature_select_strategy"]) == (-2, "default")
    assert (config["text_config"]["model_type"], config["vision_config"]["model_type"]) == (
        "llama",
        "clip_vision_model",
    )
    model = LlavaForConditionalGeneration.from_pretrained(TINY)
    assert 500_000 < sum(parameter.numel() for parameter in model.parameters()) < 2_100_000


def test_a_name_outside_llava_is_refused() -> None:
    assert hub_name("model.language_model.norm.weight") == "language_model.model.norm.weight"
    with pytest.raises(ValueError, match=r"'encoder\.weight'"):
        hub_name("encoder.weight")


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in llava-1.5-7b-hf's structure (336 pixels, patches of 14, 32,064 words), with small widths."""
    folder = tmp_path_factory.mktemp("llava-twin")
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, image_size=336, patch_size=14,
        projection_dim=32, vocab_size=32000,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=32064, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=4096, rms_norm_eps=1e-5,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=32000, vision_feature_layer=-2,
        vision_feature_select_strategy="default", image_seq_length=576, tie_word_embeddings=False,
    )  # fmt: skip
    config.architectures = ["LlavaForConditionalGeneration"]
    torch.manual_seed(3)
    model = LlavaForConditionalGeneration(config)
    save_sharded(hub_tensors(model, torch.float16), folder)
    config.save_pretrained(folder)
    save_processor(folder)
    return folder


def save_sharded(tensors: dict[str, torch.Tensor], folder: Path) -> None:
    names = sorted(tensors)
    shards = [names[:40], names[40:80], names[80:]]
    files = {f"model-{i + 1:05}-of-00003.safetensors": shard for i, shard in enumerate(shards)}
    for file, shard in files.items():
        save_file({name: tensors[name] for name in shard}, folder / file, metadata={"format": "pt"})
    index = {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())},
        "weight_map": {name: file for file, shard in files.items() for name in shard},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def save_processor(folder: Path) -> None:
    """The hub's files: a tokenizer of 32,002 tokens (<image> 32000, <pad> 32001) and CLIP's image processor at 336."""
    file = json.loads((TINY / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = file["model"]["vocab"]
    for filler in range(32_000 - len(vocabulary)):
        vocabulary[f"filler{filler}"] = len(vocabulary)
    for added in file["added_tokens"]:
        added["id"] = {"<image>": 32_000, "<pad>": 32_001}.get(added["content"], added["id"])
    tokenizer = Tokenizer.from_str(json.dumps(file))
    words = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        padding_side="left", extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    images = CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    processor = LlavaProcessor(
        image_processor=images, tokenizer=words, patch_size=14, vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )  # fmt: skip
    processor.save_pretrained(folder)
    images.save_pretrained(folder)


def test_llava_7bs_structure_loads_by_its_preset_alone(twin: Path) -> None:
    chosen = preset("llava-7b").model_copy(
        update={"source": str(twin), "max_new_tokens": 5, "device": "cpu", "dtype": "float32", "max_batch": 2}
    )
    captioner = LlavaCaptioner.load(chosen)
    images = [Image.new("RGB", (50 + 30 * i, 80), (60 * i, 10, 200)) for i in range(3)]
    captions = captioner.caption(images)
    assert len(captions) == 3
    assert captions == [captioner.caption([image])[0] for image in images]
    assert captioner.provenance.captioner.startswith("llava-7b@")


def test_the_greedy_loop_says_what_generate_says(twin: Path) -> None:
    chosen = preset("llava-7b").model_copy(
        update={"source": str(twin), "max_new_tokens": 5, "device": "cpu", "dtype": "float32"}
    )
    image = Image.linear_gradient("L").convert("RGB")
    model = LlavaForConditionalGeneration.from_pretrained(twin, dtype=torch.float32).eval()
    processor = LlavaProcessor.from_pretrained(twin, backend="pil")
    inputs = processor(images=[image], text=[chosen.prompt], return_tensors="pt")
    with torch.inference_mode():
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=5)[0, inputs["input_ids"].shape[1] :]
    wanted = processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert LlavaCaptioner.load(chosen).caption([image])[0].text == wanted
