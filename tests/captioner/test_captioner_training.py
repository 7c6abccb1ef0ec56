"""Training: its figures, its two stages, and the command that rebuilds the checkpoint."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlavaProcessor

from models.captioner.caption import Caption
from models.captioner.presets import TINY
from models.captioner.source import verify, weights_digest
from training.captioner import run
from training.captioner.architecture import new_model, whiten_patches
from training.captioner.evaluate import Confusion, measure
from training.captioner.grammar import caption
from training.captioner.lookers import GRID, labels
from training.captioner.loop import Schedule, make_texts, normalise, train
from training.captioner.pictures import Pictures, cached_pictures, make_pictures
from training.captioner.scene import ATTRIBUTES, COLOURS, KINDS, Scene, sample_scene
from training.captioner.team import Team

SCENE = Scene("horse", "red", 1, "left", "sword", "meadow", "day", "poster", "clean", "colour", None)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(TINY / "tokenizer.json"))


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return make_pictures(5, 16, workers=1)


def said(text: str) -> Caption:
    return Caption(text, "stop")


def test_accuracy_counts_each_attribute() -> None:
    right = caption(SCENE)
    wrong = right.replace("red horse", "blue horse").replace("with a sword ", "")
    accuracy = measure([SCENE] * 4, [said(right), said(right), said(wrong), said("no caption")])
    assert accuracy.exact == 0.5
    assert accuracy.unreadable == 1
    assert (accuracy.attributes["colour"], accuracy.attributes["second"], accuracy.attributes["kind"]) == (
        0.5,
        0.5,
        0.75,
    )
    assert accuracy.mean_attribute == pytest.approx((9 * 0.75 + 2 * 0.5) / 11)
    # The scene names ten attributes (its title is absent); in all four captions 10 + 10 + 8 + 0 of them are right.
    assert accuracy.named == pytest.approx(28 / 40)
    assert Confusion("colour", "red", "blue", 1) in accuracy.confusions
    assert Confusion("second", "sword", "None", 1) in accuracy.confusions
    assert set(accuracy.as_json()["attributes"]) == set(ATTRIBUTES)  # type: ignore[call-overload]


def test_accuracy_needs_one_caption_per_scene() -> None:
    with pytest.raises(ValueError, match="1 scenes and 0 captions"):
        measure([SCENE], [])


def test_patches_are_labelled_with_what_covers_them() -> None:
    (kinds,), (colours,) = labels([SCENE]).kinds.tolist(), labels([SCENE]).colours.tolist()
    horse, sword = KINDS.index("horse") + 1, KINDS.index("sword") + 1
    assert {kinds[row * GRID + column] for row in range(1, 4) for column in range(4)} == {horse}
    assert {kinds[row * GRID + column] for row in (2, 3) for column in (4, 5)} == {sword}
    assert set(kinds[-GRID:]) == {0}
    assert colours[2 * GRID] == COLOURS.index("red") + 1
    assert colours[2 * GRID + 5] == COLOURS.index("white") + 1


def test_training_sees_pictures_as_the_processor_gives_them(pictures: Pictures) -> None:
    from PIL import Image

    processor = LlavaProcessor.from_pretrained(TINY, backend="pil")
    images = [Image.fromarray(pixels) for pixels in pictures.pixels[:3]]
    given = processor(images=images, text=["<image>"] * 3, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(normalise(torch.from_numpy(pictures.pixels[:3])), given)


def test_the_prompt_and_the_padding_are_not_learned(pictures: Pictures, tokenizer: Tokenizer) -> None:
    texts = make_texts(pictures, tokenizer, "USER: <image>\nASSISTANT:")
    assert [*texts.before, *texts.after] == [
        token
        for token in tokenizer.encode("USER: <image>\nASSISTANT:").ids
        if token != tokenizer.token_to_id("<image>")
    ]
    for row, scene in zip(texts.captions.tolist(), pictures.scenes, strict=True):
        ids = tokenizer.encode(caption(scene), add_special_tokens=False).ids
        assert row[: len(ids) + 1] == [*ids, tokenizer.token_to_id("</s>")]
        assert set(row[len(ids) + 1 :]) <= {tokenizer.token_to_id("<pad>")}


def test_the_patch_embedding_starts_white(pictures: Pictures, tokenizer: Tokenizer) -> None:
    model = new_model(tokenizer, 1)
    pixels = normalise(torch.from_numpy(pictures.pixels))
    whiten_patches(model, pixels)
    seen = model.model.vision_tower.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2).flatten(0, 1)
    correlation = torch.corrcoef(seen.detach().T[-16:])
    torch.testing.assert_close(correlation, torch.eye(16), atol=1e-3, rtol=0)


def test_training_is_decided_by_its_seed_and_lowers_the_loss(pictures: Pictures, tokenizer: Tokenizer) -> None:
    texts = make_texts(pictures, tokenizer, "USER: <image>\nASSISTANT:")

    def trained(seed: int) -> tuple[torch.Tensor, list[float]]:
        model = new_model(tokenizer, seed)
        losses: list[float] = []
        schedule = Schedule(look_steps=2, speak_steps=8, batch=8, learning_rate=2e-3)
        train(model, pictures, texts, schedule, seed, Team(), lambda stage, step, loss: losses.append(loss))
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]), losses

    (first, losses), (again, _), (other, _) = trained(1), trained(1), trained(2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert losses[-1] < losses[2] - 1


def test_rendered_pictures_are_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cached_pictures(tmp_path, seed=4, count=3, workers=1)
    monkeypatch.setattr("training.captioner.pictures.make_pictures", None)
    found = cached_pictures(tmp_path, seed=4, count=3, workers=1)
    assert np.array_equal(made.pixels, found.pixels)
    assert made.scenes == found.scenes == tuple(sample_scene(random.Random((4 << 40) + i)) for i in range(3))


SMALL = [
    "--scenes",
    "16",
    "--look-steps",
    "1",
    "--steps",
    "1",
    "--batch",
    "4",
    "--exam-scenes",
    "2",
    "--exam-posters",
    "2",
]


def test_one_command_writes_a_complete_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "checkpoint"
    assert run.main([*SMALL, "--processes", "2", "--out", str(out), "--cache", str(tmp_path / "cache")]) == 0
    verify(out, required=True)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["weights_sha256"] == weights_digest(out)
    assert report["settings"]["scenes"] == 16
    assert {path.name for path in out.iterdir()} == {path.name for path in TINY.iterdir()}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".unfinished")] == []


def test_a_failed_training_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "checkpoint"
    out.mkdir()
    (out / "model.safetensors").write_bytes(b"old")

    def fail(*arguments: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(run, "build", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        run.main([*SMALL, "--out", str(out), "--cache", str(tmp_path / "cache")])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert (out / "model.safetensors").read_bytes() == b"old"


def test_the_committed_report_is_of_the_committed_weights_and_meets_the_target() -> None:
    report = json.loads((TINY / "report.json").read_text(encoding="utf-8"))
    assert report["weights_sha256"] == weights_digest(TINY)
    assert report["held_out"]["pictures"] >= 2_000
    for exam in ("held_out", "posters"):
        assert report[exam]["mean_attribute"] >= 0.95
        assert report[exam]["named"] >= 0.95
