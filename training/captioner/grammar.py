"""The captions' grammar: one sentence names every attribute of a scene once, and is read back into it.

a grainy sepia woodcut of two grey hearts on the left with a sword in a forest at night titled love
"""

import re

from training.captioner.scene import COLOURS, KINDS, STYLES, TEXTURES, TONES, WORDS, Scene, SceneError

NUMBERS: tuple[str, ...] = ("two", "three", "four")
PLURALS: dict[str, str] = {kind: kind + "s" for kind in KINDS} | {"fish": "fish", "knife": "knives"}
PLACE_PHRASES: dict[str, str] = {"left": "on the left", "centre": "in the centre", "right": "on the right"}
SETTING_PHRASES: dict[str, str] = {
    "battlefield": "on a battlefield", "city": "in a city", "desert": "in a desert", "forest": "in a forest",
    "graveyard": "in a graveyard", "meadow": "in a meadow", "mountains": "in the mountains", "road": "on a road",
    "sea": "at sea",
    "snow": "in the snow", "room": "in a room", "space": "in space", "stage": "on a stage", "underwater": "underwater",
}  # fmt: skip
TIME_PHRASES: dict[str, str] = {
    "day": "by day",
    "night": "at night",
    "rain": "in rain",
    "sunset": "at sunset",
}


class CaptionParseError(ValueError):
    """A text that is not a caption of the grammar."""


def caption(scene: Scene) -> str:
    """The one caption of a scene: lower case, no punctuation, every attribute once."""
    if scene.count == 1:
        thing = f"{_article(scene.colour)} {scene.colour} {scene.kind}"
    else:
        thing = f"{NUMBERS[scene.count - 2]} {scene.colour} {PLURALS[scene.kind]}"
    words = [f"a {scene.texture} {scene.tone} {scene.style} of {thing}", PLACE_PHRASES[scene.place]]
    if scene.second:
        words.append(f"with {_article(scene.second)} {scene.second}")
    words.append(SETTING_PHRASES[scene.setting])
    if scene.time:
        words.append(TIME_PHRASES[scene.time])
    if scene.word:
        words.append(f"titled {scene.word}")
    return " ".join(words)


def parse(text: str) -> Scene:
    """Read a caption back into the scene that it names.

    Raises:
        CaptionParseError: the text is not of the grammar, or names attributes that no picture shows together.
    """
    match = _CAPTION.fullmatch(text)
    if match is None:
        raise CaptionParseError(f"not a caption of the grammar: {text!r}; an example: {_EXAMPLE!r}")
    found = match.groupdict()
    number = found["number"]
    try:
        return Scene(
            kind=found["kind"] if found["kind"] else _SINGULAR[found["kinds"]],
            colour=found["colour"] or found["colours"],
            count=1 if number is None else NUMBERS.index(number) + 2,
            place=_PLACE_OF[found["place"]],
            second=found["second"],
            setting=_SETTING_OF[found["setting"]],
            time=_TIME_OF[found["time"]] if found["time"] else None,
            style=found["style"],
            texture=found["texture"],
            tone=found["tone"],
            word=found["word"],
        )
    except SceneError as error:
        raise CaptionParseError(f"{text!r} names what no picture shows: {error}") from error


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _any(words: tuple[str, ...] | list[str], name: str) -> str:
    return f"(?P<{name}>{'|'.join(map(re.escape, words))})"


_SINGULAR = {plural: kind for kind, plural in PLURALS.items()}
_PLACE_OF = {phrase: place for place, phrase in PLACE_PHRASES.items()}
_SETTING_OF = {phrase: setting for setting, phrase in SETTING_PHRASES.items()}
_TIME_OF = {phrase: time for time, phrase in TIME_PHRASES.items()}
_EXAMPLE = "a grainy sepia woodcut of two grey hearts on the left with a sword in a forest at night titled love"
_CAPTION = re.compile(
    f"a {_any(TEXTURES, 'texture')} {_any(TONES, 'tone')} {_any(STYLES, 'style')} of "
    f"(?:an? {_any(COLOURS, 'colour')} {_any(KINDS, 'kind')}"
    f"|{_any(NUMBERS, 'number')} {_any(COLOURS, 'colours')} {_any(list(PLURALS.values()), 'kinds')}) "
    f"{_any(list(PLACE_PHRASES.values()), 'place')}(?: with an? {_any(KINDS, 'second')})? "
    f"{_any(list(SETTING_PHRASES.values()), 'setting')}(?: {_any(list(TIME_PHRASES.values()), 'time')})?"
    f"(?: titled {_any(WORDS, 'word')})?"
)
