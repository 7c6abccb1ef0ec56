"""The training loop: the vision tower learns to see; then, with the tower frozen as in LLaVA, the rest to speak."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import LlavaForConditionalGeneration
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from training.captioner.architecture import PATCHES, whiten_patches
from training.captioner.grammar import caption
from training.captioner.lookers import Lookers, labels
from training.captioner.pictures import Pictures
from training.captioner.team import Team
from training.captioner.tokenizer import END, IMAGE, PAD, special_id

Progress = Callable[[str, int, float], None]
IGNORED = -100
SHIFT = 1
WHITENING_SAMPLE = 1000


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast: steps of each stage, pictures in a step, highest learning rate, share of warm-up."""

    look_steps: int
    speak_steps: int
    batch: int
    learning_rate: float
    warmup: float = 0.05


@dataclass(frozen=True, slots=True)
class Texts:
    """The prompt's ids before and after the image, and each caption's ids with </s>, padded: int64 [N, L]."""

    before: torch.Tensor
    after: torch.Tensor
    captions: torch.Tensor
    pad: int


def make_texts(pictures: Pictures, tokenizer: Tokenizer, prompt: str) -> Texts:
    """Tokenize the captions as continuations of `prompt`, which holds one <image>."""
    image, pad, end = (special_id(tokenizer, token) for token in (IMAGE, PAD, END))
    head = tokenizer.encode(prompt).ids
    at = head.index(image)
    texts = [caption(scene) for scene in pictures.scenes]
    rows = [[*encoding.ids, end] for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
    padded = np.full((len(rows), max(map(len, rows))), pad, dtype=np.int64)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    return Texts(torch.tensor(head[:at]), torch.tensor(head[at + 1 :]), torch.from_numpy(padded), pad)


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 [N, S, S, 3] to the image processor's float32 [N, 3, S, S]."""
    mean, deviation = torch.tensor(OPENAI_CLIP_MEAN), torch.tensor(OPENAI_CLIP_STD)
    return ((pixels.float() / 255 - mean) / deviation).permute(0, 3, 1, 2).contiguous()


def see(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """The features that LLaVA takes from its vision tower: the last layer but one, without CLS: [N, P, width]."""
    tower = model.model.vision_tower
    hidden = tower.pre_layrnorm(tower.embeddings(pixels))
    for layer in tower.encoder.layers[: model.config.vision_feature_layer + 1]:
        hidden = layer(hidden, attention_mask=None)
    patches: torch.Tensor = hidden[:, 1:]
    return patches


def speak(
    model: LlavaForConditionalGeneration, patches: torch.Tensor, texts: Texts, rows: torch.Tensor
) -> torch.Tensor:
    """Teacher-forced loss of the captions `rows` [N, L] given the patches; prompt and padding are not counted."""
    words = model.get_input_embeddings()
    count = patches.shape[0]
    parts = [
        words(texts.before).expand(count, -1, -1),
        model.model.multi_modal_projector(patches),
        words(texts.after).expand(count, -1, -1),
        words(rows[:, :-1]),
    ]
    hidden = model.model.language_model(inputs_embeds=torch.cat(parts, dim=1), use_cache=False).last_hidden_state
    prompt = len(texts.before) + PATCHES + len(texts.after)
    logits = model.lm_head(hidden[:, prompt - 1 :])
    wanted = rows.masked_fill(rows == texts.pad, IGNORED)
    return nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)


def train(
    model: LlavaForConditionalGeneration,
    pictures: Pictures,
    texts: Texts,
    schedule: Schedule,
    seed: int,
    team: Team,
    progress: Progress,
) -> None:
    """Train `model` in place: the vision tower for `look_steps` on attributes, the rest for `speak_steps` on captions.

    The same seed, pictures, schedule and size of team give the same weights on one machine.
    """
    torch.manual_seed(seed)
    lookers = Lookers(model.config.vision_config.hidden_size)
    wanted = labels(pictures.scenes)
    batches = _batches(len(pictures.scenes), schedule.batch, seed)
    pixels = torch.from_numpy(pictures.pixels)
    model.train()

    whiten_patches(model, normalise(pixels[:WHITENING_SAMPLE]))
    shifts = torch.Generator().manual_seed(seed + team.rank)

    def look_loss(rows: torch.Tensor) -> torch.Tensor:
        return lookers.loss(see(model, normalise(_shifted(pixels[rows], shifts))), wanted.take(rows))

    def speak_loss(rows: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            patches = see(model, normalise(_shifted(pixels[rows], shifts)))
        return speak(model, patches, texts, _trimmed(texts.captions[rows], texts.pad))

    tower = nn.ModuleList([model.model.vision_tower, lookers])
    voice = nn.ModuleList([model.model.multi_modal_projector, model.model.language_model, model.lm_head])
    _run("look", tower, look_loss, batches, schedule.look_steps, schedule, team, progress)
    _run("speak", voice, speak_loss, batches, schedule.speak_steps, schedule, team, progress)
    model.eval()


def _shifted(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The batch moved by up to SHIFT pixels, each picture a little brighter or darker: uint8 like `pixels`."""
    down, right = torch.randint(-SHIFT, SHIFT + 1, (2,), generator=generator).tolist()
    gain = 0.9 + 0.2 * torch.rand(len(pixels), 1, 1, 1, generator=generator)
    moved = pixels.roll((down, right), dims=(1, 2)).float() * gain
    return moved.clamp(0, 255).to(torch.uint8)


def _trimmed(rows: torch.Tensor, pad: int) -> torch.Tensor:
    return rows[:, : int((rows != pad).sum(dim=1).max())]


def _batches(count: int, size: int, seed: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(count, generator=generator)
        yield from torch.split(order[: count - count % size], size)


def _run(
    stage: str,
    module: nn.Module,
    loss_of: Callable[[torch.Tensor], torch.Tensor],
    batches: Iterator[torch.Tensor],
    steps: int,
    schedule: Schedule,
    team: Team,
    progress: Progress,
) -> None:
    matrices = [p for p in module.parameters() if p.ndim > 1]
    vectors = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.98), fused=True)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * _rate(step, steps, schedule.warmup)
        loss = loss_of(team.part(next(batches)))
        loss.backward()  # type: ignore[no-untyped-call]
        team.average([p.grad for p in module.parameters() if p.grad is not None])
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress(stage, step + 1, loss.item())


def _rate(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up, then a cosine down to 2 %."""
    rising = max(1, round(steps * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
