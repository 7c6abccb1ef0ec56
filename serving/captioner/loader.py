"""How a model replica gets its captioner. Free of Ray and, until a captioner is loaded, of torch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from models.captioner.errors import UnknownPresetError
from models.captioner.presets import TINY, Preset, is_hub_id, preset
from serving.captioner.settings import CaptionerSettings, SettingsError

if TYPE_CHECKING:
    from models.captioner.caption import Captioner

log = logging.getLogger("sightline.captioner")


def loader(settings: CaptionerSettings) -> Callable[[], Captioner]:
    """A function that loads the settings' captioner where it is called; it can be pickled.

    Raises:
        SettingsError: the preset is none, or has no revisions.
    """
    try:
        chosen = preset(settings.preset)
    except UnknownPresetError as error:
        raise SettingsError(str(error)) from error
    if settings.revision and not is_hub_id(chosen.source):
        raise SettingsError(
            f"revision={settings.revision!r}: {chosen.source} is not on the hub and has no revisions; leave it empty"
        )
    pins = {"revision": settings.revision or chosen.revision, "weights": settings.weights or chosen.weights}
    return partial(_load, chosen.model_copy(update=pins))


def _load(chosen: Preset) -> Captioner:
    from models.captioner.llava import LlavaCaptioner

    if chosen.weights is None and chosen.source != str(TINY):
        log.warning(
            "the weights of %s are taken as they come; `sightline models pin-weights SOURCE` tells what pins them",
            chosen.source,
        )
    return LlavaCaptioner.load(chosen)
