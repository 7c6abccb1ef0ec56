"""The captioning step: images to the captioner, captions and their tokens to the item store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np

from models.contract import CaptionTokenizer
from models.items import FeatureValue, ItemRow, ItemStore, StoredCaption
from serving.captioner.client import CaptionClient, CaptionResult

Progress = Callable[[int, int], None]
_GROUP = 512  # images read and captions stored at a time: an interrupted run keeps what it has


@dataclass(frozen=True)
class Captioned:
    """What a captioning run did: captions by item, and why others have none."""

    captions: Mapping[str, StoredCaption]
    refused: Mapping[str, str]


def caption_items(
    client: CaptionClient,
    images: Mapping[str, str],
    tokenizer: CaptionTokenizer,
    store: ItemStore,
    features: Mapping[str, Mapping[str, FeatureValue]],
    progress: Progress,
) -> Captioned:
    """Caption the image of each item and write its row; an item whose image is refused gets a row without caption.

    Args:
        images: item id to image: a path, or an address that fsspec opens (s3://, https://).
        features: item id to the item's own features by contract name.
        progress: called with (images done, images in all).

    Raises:
        CaptionerUnreachableError: the service is away; groups already stored stay.
        ItemStoreError: the store cannot be written.
        OSError: an image cannot be read.
    """
    captions: dict[str, StoredCaption] = {}
    refused: dict[str, str] = {}
    names = list(images)
    for start in range(0, len(names), _GROUP):
        group = names[start : start + _GROUP]
        loaded = [(name, image_bytes(images[name])) for name in group]

        def group_progress(done: int, of: int, start: int = start) -> None:
            progress(start + done, len(names))

        results = client.caption(loaded, group_progress)
        stored = stored_captions(results, tokenizer)
        captions |= stored
        refused |= {result.id: result.error.message for result in results if result.error is not None}
        store.put_many(ItemRow(name, stored.get(name), features.get(name, {})) for name in group)
    return Captioned(captions, refused)


def stored_captions(results: Sequence[CaptionResult], tokenizer: CaptionTokenizer) -> dict[str, StoredCaption]:
    """The captions among the results with their token ids (int32, untruncated), by item id."""
    written = [(result, result.text) for result in results if result.text is not None]
    tokens = tokenizer.encode([text for _, text in written])
    return {
        result.id: StoredCaption(
            text=text,
            tokens=np.asarray(ids, dtype=np.int32),
            tokenizer=tokenizer.sha256,
            captioner=result.captioner,
            prompt=result.prompt,
        )
        for (result, text), ids in zip(written, tokens, strict=True)
    }


def image_bytes(place: str) -> bytes:
    """The encoded image at a path or address.

    Raises:
        OSError: it cannot be read.
    """
    if "://" not in place:
        return Path(place).read_bytes()
    with fsspec.open(place, "rb") as file:
        data: bytes = file.read()
    return data
