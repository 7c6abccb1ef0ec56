"""The reference engine on the committed weights: captions from pixels, batches, provenance, refusals."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from PIL import Image
from pydantic import ValidationError

from models.captioner.errors import REBUILD, CaptionerLoadError, UnknownPresetError
from models.captioner.llava import LlavaCaptioner
from models.captioner.presets import PRESETS, TINY, Preset, preset
from models.captioner.source import fetch
from training.captioner.evaluate import measure
from training.captioner.exams import held_out, posters


@pytest.fixture(scope="module")
def captioner() -> LlavaCaptioner:
    return LlavaCaptioner.load(preset("tiny"))


def copy_of_tiny(folder: Path) -> Preset:
    shutil.copytree(TINY, folder)
    return preset("tiny").model_copy(update={"source": str(folder)})


def test_held_out_scenes_are_read_right(captioner: LlavaCaptioner) -> None:
    scenes, images = zip(*held_out(seed=9_001, count=100), strict=True)
    accuracy = measure(scenes, captioner.caption(images))
    assert accuracy.mean_attribute >= 0.93
    assert accuracy.unreadable == 0


def test_posters_are_read_right(captioner: LlavaCaptioner) -> None:
    scenes, images = zip(*posters(seed=9_002, count=57), strict=True)
    accuracy = measure(scenes, captioner.caption(images))
    assert accuracy.mean_attribute >= 0.93


def test_a_caption_depends_on_its_picture_alone(captioner: LlavaCaptioner) -> None:
    images = [image for _, image in held_out(seed=9_003, count=12)]
    together = captioner.caption(images)
    assert [captioner.caption([image])[0] for image in images] == together
    assert captioner.caption(images[::-1]) == together[::-1]


def test_long_lists_are_cut_into_batches() -> None:
    images = [image for _, image in held_out(seed=9_004, count=7)]
    small = LlavaCaptioner.load(preset("tiny").model_copy(update={"max_batch": 3}))
    assert small.caption(images) == LlavaCaptioner.load(preset("tiny")).caption(images)


def test_no_pictures_give_no_captions(captioner: LlavaCaptioner) -> None:
    assert captioner.caption([]) == []


@pytest.mark.parametrize("image", [Image.new("RGB", (1, 1)), Image.new("RGBA", (3, 900)), Image.new("I;16", (64, 64))])
def test_odd_pictures_are_captioned(captioner: LlavaCaptioner, image: Image.Image) -> None:
    (caption,) = captioner.caption([image])
    assert caption.finish in ("stop", "length")


def test_a_caption_that_meets_its_limit_says_so() -> None:
    short = LlavaCaptioner.load(preset("tiny").model_copy(update={"max_new_tokens": 3}))
    (caption,) = short.caption([Image.new("RGB", (96, 96))])
    assert caption.finish == "length"
    assert len(caption.text.split()) <= 3


def test_provenance_follows_the_weights_and_the_question(captioner: LlavaCaptioner) -> None:
    report = json.loads((TINY / "report.json").read_text(encoding="utf-8"))
    assert captioner.provenance.captioner == f"tiny@{report['weights_sha256'][:12]}"
    asked = LlavaCaptioner.load(preset("tiny").model_copy(update={"max_new_tokens": 8})).provenance
    assert asked.captioner == captioner.provenance.captioner
    assert asked.prompt != captioner.provenance.prompt


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_one_changed_byte_is_refused(tmp_path: Path, name: str) -> None:
    chosen = copy_of_tiny(tmp_path / "tiny")
    path = tmp_path / "tiny" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CaptionerLoadError, match=f"{name}: changed") as caught:
        LlavaCaptioner.load(chosen)
    assert REBUILD in str(caught.value)
    assert caught.value.file == str(path)


@pytest.mark.parametrize("name", ["model.safetensors", "SHA256SUMS", "tokenizer.json"])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    chosen = copy_of_tiny(tmp_path / "tiny")
    (tmp_path / "tiny" / name).unlink()
    with pytest.raises(CaptionerLoadError, match=f"{name}: missing.*{REBUILD}"):
        LlavaCaptioner.load(chosen)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    chosen = preset("tiny").model_copy(update={"source": str(tmp_path / "nowhere")})
    with pytest.raises(CaptionerLoadError, match="no such folder"):
        LlavaCaptioner.load(chosen)


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path, without_tensor: Callable[[Path], None]) -> None:
    chosen = copy_of_tiny(tmp_path / "tiny").model_copy(update={"verified": False})
    (tmp_path / "tiny" / "SHA256SUMS").unlink()
    without_tensor(tmp_path / "tiny" / "model.safetensors")
    with pytest.raises(CaptionerLoadError, match="missing_keys"):
        LlavaCaptioner.load(chosen)


@pytest.fixture
def without_tensor() -> Callable[[Path], None]:
    from safetensors.torch import load_file, save_file

    def drop(path: Path) -> None:
        tensors = load_file(path)
        del tensors["language_model.lm_head.weight"]
        save_file(tensors, path, metadata={"format": "pt"})

    return drop


def test_an_object_stores_folder_loads_through_a_cache(tmp_path: Path, captioner: LlavaCaptioner) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(TINY) + "/", "/bucket/tiny/", recursive=True)
    remote = preset("tiny").model_copy(update={"source": "memory://bucket/tiny"})
    loaded = LlavaCaptioner.load(remote, cache=tmp_path / "cache")
    assert loaded.provenance == captioner.provenance
    assert len(list((tmp_path / "cache").iterdir())) == 1
    LlavaCaptioner.load(remote, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_an_empty_object_store_folder_is_refused(tmp_path: Path) -> None:
    remote = preset("tiny").model_copy(update={"source": "memory://bucket/empty"})
    with pytest.raises(CaptionerLoadError, match=r"holds no \*\.safetensors"):
        LlavaCaptioner.load(remote, cache=tmp_path)


@pytest.mark.parametrize("key", ["../../planted.json", "a//planted.json", "./planted.json"])
def test_an_object_store_s_key_that_leaves_the_folder_is_refused(tmp_path: Path, key: str) -> None:
    """S3 keys are any text; a listing is not a folder."""

    class Keys(fsspec.AbstractFileSystem):  # type: ignore[misc]
        protocol = "keys"

        def find(self, path: str, **_: object) -> dict[str, dict[str, object]]:
            return {f"{path}/{name}": {"size": 1} for name in ("model.safetensors", key)}

        def get_file(self, rpath: str, lpath: str, **_: object) -> None:
            Path(lpath).write_text("{}")

    fsspec.register_implementation("keys", Keys, clobber=True)
    with pytest.raises(CaptionerLoadError, match=r"holds '.*planted\.json' is not the name of a file inside a folder"):
        fetch("keys://bucket/tiny", None, tmp_path / "deep" / "cache")
    assert not list(tmp_path.rglob("planted.json"))
    assert not list((tmp_path / "deep" / "cache").iterdir())


def test_an_object_store_s_code_and_pickles_are_not_copied(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    for name in ("model.safetensors", "config.json", "pytorch_model.bin", "modeling.py"):
        store.pipe(f"/bucket/mixed/{name}", b"{}")
    copied = fetch("memory://bucket/mixed", None, tmp_path / "cache")
    assert sorted(each.name for each in copied.iterdir()) == ["config.json", "model.safetensors"]


def test_presets_are_data() -> None:
    assert set(PRESETS) == {"tiny", "llava-7b"}
    assert preset("llava-7b").source == "llava-hf/llava-1.5-7b-hf"
    assert preset("owner/other-llava").source == "owner/other-llava"
    assert preset("s3://bucket/models/mine/").name == "mine"
    with pytest.raises(UnknownPresetError, match=r"preset='huge': expected one of llava-7b, tiny"):
        preset("huge")


@pytest.mark.parametrize("prompt", ["no picture", "<image> and <image>"])
def test_a_prompt_needs_exactly_one_image(prompt: str) -> None:
    with pytest.raises(ValidationError, match="exactly one <image>"):
        Preset(name="x", source="a/b", prompt=prompt)
