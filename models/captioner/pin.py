"""What pins a checkpoint: the hub's commit, and the digest of the weights."""

from dataclasses import dataclass

import httpx
from huggingface_hub import HfApi

from models.captioner.errors import CaptionerLoadError
from models.captioner.presets import is_hub_id, preset
from models.captioner.source import fetch, list_digest, weights_digest


@dataclass(frozen=True, slots=True)
class Pin:
    """`revision` is a commit, None for what is not on the hub; `weights` is the digest, hex."""

    revision: str | None
    weights: str


def pin(source: str, revision: str | None, endpoint: str | None = None) -> Pin:
    """The pin of a preset, a hub id, a folder or a URI as it is now.

    The hub tells the digests of its files, which then need not be fetched; `endpoint` is another hub than the usual.

    Raises:
        CaptionerLoadError: the source is not there, or does not tell.
        UnknownPresetError: it is no source.
    """
    chosen = preset(source)
    if not is_hub_id(chosen.source):
        return Pin(None, weights_digest(fetch(chosen.source, None)))
    try:
        found = HfApi(endpoint=endpoint).model_info(chosen.source, revision=revision, files_metadata=True)
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise CaptionerLoadError(
            chosen.source, f"the hub does not answer for it ({error})", "check the id, the revision and the network"
        ) from error
    weights = [each for each in found.siblings or () if each.rfilename.endswith(".safetensors")]
    sums = {each.rfilename: each.lfs.sha256 for each in weights if each.lfs is not None}
    if found.sha is None or not weights or len(sums) < len(weights):
        raise CaptionerLoadError(
            chosen.source, "the hub tells no digest of its *.safetensors", "fetch it and pin the folder"
        )
    return Pin(found.sha, list_digest(sums))
