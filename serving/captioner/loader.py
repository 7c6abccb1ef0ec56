"""How a model replica gets its captioner. Free of Ray and, until a captioner is loaded, of torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from models.captioner.errors import UnknownPresetError
from models.captioner.presets import preset
from serving.captioner.settings import SettingsError

if TYPE_CHECKING:
    from models.captioner.caption import Captioner


def loader(name: str) -> Callable[[], Captioner]:
    """A function that loads the preset's captioner where it is called; it can be pickled.

    Raises:
        SettingsError: there is no preset of this name.
    """
    try:
        return partial(_load, preset(name).name)
    except UnknownPresetError as error:
        raise SettingsError(str(error)) from error


def _load(name: str) -> Captioner:
    from models.captioner.llava import LlavaCaptioner

    return LlavaCaptioner.load(preset(name))
