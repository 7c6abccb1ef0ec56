"""The tiny captioner: LLaVA-1.5's architecture at about 1.6 million parameters."""

import torch
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

from training.captioner.pictures import SIDE
from training.captioner.tokenizer import BEGIN, END, IMAGE, PAD, UNKNOWN

PATCH = 16
PATCHES = (SIDE // PATCH) ** 2
VISION_FEATURE_LAYER = -2
WHITE_SCALE = 0.5


def configuration(tokenizer: Tokenizer) -> LlavaConfig:
    """LLaVA-1.5's configuration with small sizes; the vocabulary is `tokenizer`'s, rounded up to a multiple of 8."""
    vocabulary = -(-tokenizer.get_vocab_size() // 8) * 8
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        projection_dim=128,
        hidden_act="relu",
        num_hidden_layers=5,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
    )
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        bos_token_id=tokenizer.token_to_id(BEGIN),
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(PAD),
        tie_word_embeddings=False,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.token_to_id(IMAGE),
        vision_feature_layer=VISION_FEATURE_LAYER,
        vision_feature_select_strategy="default",
        image_seq_length=PATCHES,
        tie_word_embeddings=False,
    )


def new_model(tokenizer: Tokenizer, seed: int) -> LlavaForConditionalGeneration:
    """A model with fresh weights that follow from `seed`."""
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(configuration(tokenizer))
    model.generation_config.bos_token_id = tokenizer.token_to_id(BEGIN)
    model.generation_config.eos_token_id = tokenizer.token_to_id(END)
    model.generation_config.pad_token_id = tokenizer.token_to_id(PAD)
    return model


def processor(tokenizer: Tokenizer) -> LlavaProcessor:
    """The processor of llava-1.5: shortest edge to SIDE (bicubic), centre crop, CLIP's mean and deviation."""
    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, do_convert_rgb=True
    )
    words = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": IMAGE},
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=words,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


@torch.no_grad()
def whiten_patches(model: LlavaForConditionalGeneration, pixels: torch.Tensor) -> None:
    """Start the patch embedding at the patches' principal components, each of unit variance.

    A patch is 768 numbers, but the brightness of its parts carries nearly all their variance; an embedding that starts
    at random sees little else for a long time. `pixels` is float32 [N, 3, S, S], a sample of training pictures.
    """
    embedding = model.model.vision_tower.embeddings.patch_embedding
    patches = torch.nn.functional.unfold(pixels, PATCH, stride=PATCH)  # [N, 3 * PATCH**2, P]
    patches = patches.transpose(1, 2).flatten(0, 1)
    patches = patches - patches.mean(dim=0)
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    width = embedding.out_channels
    largest, found = variances[-width:], directions[:, -width:]
    rows = (found / (largest + 1e-3 * largest.max()).sqrt()).T
    embedding.weight.copy_(WHITE_SCALE * rows.reshape(embedding.weight.shape))
