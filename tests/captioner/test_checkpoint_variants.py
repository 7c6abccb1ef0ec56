"""Checkpoints as hubs and people lay them out: what the model's configuration tells is taken from it, the rest is
refused at load by the file and key that is at fault.
"""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.captioner.errors import CaptionerLoadError
from models.captioner.llava import LlavaCaptioner
from models.captioner.presets import TINY, preset

PICTURE = Image.linear_gradient("L").convert("RGB")
Change = Callable[[Path], None]


def edited(name: str, change: Callable[[dict[str, Any]], object]) -> Change:
    def edit(folder: Path) -> None:
        document = json.loads((folder / name).read_text(encoding="utf-8"))
        change(document)
        (folder / name).write_text(json.dumps(document), encoding="utf-8")

    return edit


def without(*names: str) -> Change:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def written(name: str, data: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(data) and None


def cut(name: str) -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-1000]) and None


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weights": [1.0]}))


def indexed(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": {"language_model.lm_head.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def loaded(folder: Path, *changes: Change) -> LlavaCaptioner:
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("SHA256SUMS", "report.json"))
    for change in changes:
        change(folder)
    return LlavaCaptioner.load(preset("tiny").model_copy(update={"source": str(folder), "verified": False}))


@pytest.fixture(scope="module")
def known() -> str:
    return LlavaCaptioner.load(preset("tiny")).caption([PICTURE])[0].text


@pytest.mark.parametrize(
    "change",
    [
        without("processor_config.json"),
        without("preprocessor_config.json"),
        without("processor_config.json", "preprocessor_config.json"),
        without("generation_config.json"),
        edited("processor_config.json", lambda d: d.pop("patch_size")),
        edited("processor_config.json", lambda d: d.update(patch_size=None)),
        edited("processor_config.json", lambda d: d.update(num_additional_image_tokens=0)),
        edited("processor_config.json", lambda d: d.pop("vision_feature_select_strategy")),
        edited("processor_config.json", lambda d: d.update(patch_size=14, vision_feature_select_strategy="full")),
        edited("tokenizer_config.json", lambda d: d.pop("image_token")),
        written("chat_template.jinja", b"{{ messages"),
        edited("config.json", lambda d: d.pop("vision_feature_select_strategy")),
    ],
)
def test_what_the_models_configuration_tells_is_taken_from_it(change: Change, known: str, tmp_path: Path) -> None:
    assert loaded(tmp_path / "llava", change).caption([PICTURE])[0].text == known


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (without("tokenizer.json"), "tokenizer"),
        (written("tokenizer.json", b"{}"), "tokenizer"),
        (edited("config.json", lambda d: d.update(image_token_index=3, image_token_id=3)), "image_token_index 3"),
        (edited("preprocessor_config.json", lambda d: d["crop_size"].update(height=64)), "crop_size is 64x96"),
        (written("preprocessor_config.json", b"{"), "processor files"),
        (edited("config.json", lambda d: d.update(model_type="qwen2_vl")), "model_type is 'qwen2_vl'"),
        (edited("config.json", lambda d: d["vision_config"].pop("patch_size")), "weights"),
        (edited("config.json", lambda d: d["text_config"].update(vocab_size=9)), "weights"),
        (without("config.json"), "config.json"),
        (written("config.json", b"[]"), "model_type is None"),
        (cut("model.safetensors"), "weights or config.json cannot be read"),
        (written("model.safetensors", b""), "weights or config.json cannot be read"),
        (indexed, "weights or config.json cannot be read"),
        (pickled, r"holds no \*\.safetensors"),
        (without("model.safetensors"), r"holds no \*\.safetensors"),
    ],
)
def test_what_does_not_belong_together_is_refused_at_load_by_its_name(
    change: Change, named: str, tmp_path: Path
) -> None:
    with pytest.raises(CaptionerLoadError, match=named):
        loaded(tmp_path / "llava", without("processor_config.json"), change)


def test_a_model_that_names_no_end_takes_the_tokenizers(known: str, tmp_path: Path) -> None:
    def nameless(document: dict[str, Any]) -> None:
        document["text_config"]["eos_token_id"] = None

    folder = tmp_path / "llava"
    found = loaded(folder, without("generation_config.json"), edited("config.json", nameless))
    assert found.caption([PICTURE])[0].text == known


def test_a_picture_of_all_tokens_of_the_tower_has_as_many_in_the_prompt(tmp_path: Path) -> None:
    full = edited("config.json", lambda d: d.update(vision_feature_select_strategy="full"))
    assert loaded(tmp_path / "llava", full).caption([PICTURE])[0].finish in ("stop", "length")


def test_a_captioner_that_cannot_caption_a_grey_picture_is_refused_at_load() -> None:
    captioner = LlavaCaptioner.load(preset("tiny"))
    captioner._processor.patch_size = 8  # as if the files had fit by chance
    with pytest.raises(CaptionerLoadError, match="cannot caption a grey picture"):
        captioner.check("here")
