"""How a model replica gets its captioner. Free of Ray and, until a captioner is loaded, of torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from models.captioner.errors import UnknownPresetError
from models.captioner.presets import Preset, preset
from serving.captioner.settings import SettingsError

if TYPE_CHECKING:
    from models.captioner.caption import Captioner


def loader(name: str) -> Callable[[], Captioner]:
    """A function that loads a preset's captioner where it is called; it can be pickled.

    Args:
        name: of a preset, or a checkpoint's folder, hub id or URI (see `models.captioner.presets.preset`).

    Raises:
        SettingsError: it is none of these.
    """
    try:
        return partial(_load, preset(name))
    except UnknownPresetError as error:
        raise SettingsError(str(error)) from error


def _load(chosen: Preset) -> Captioner:
    from models.captioner.llava import LlavaCaptioner

    return LlavaCaptioner.load(chosen)
