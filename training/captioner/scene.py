"""What a picture shows: the attributes that a caption names, and how scenes are drawn at random."""

import random
from dataclasses import dataclass, fields
from typing import Literal

KINDS: tuple[str, ...] = (
    "anchor", "balloon", "bat", "bird", "bomb", "book", "bottle", "cactus", "camera", "candle", "car", "castle",
    "cat", "clock",
    "crown", "drum", "duck", "envelope", "eye", "fish", "flag", "flower", "ghost", "guitar", "gun", "hat", "heart",
    "helicopter",
    "horse", "horseshoe", "house", "key", "knife", "lantern", "lock", "magnifier", "mask", "moon", "note", "plane",
    "planet",
    "ring", "robot", "rocket", "saucer", "shield", "ship", "skull", "snowman", "spider", "star", "sword", "tank",
    "train",
    "tree", "umbrella",
)  # fmt: skip
GREYS: tuple[str, ...] = ("black", "grey", "white")
COLOURS: tuple[str, ...] = (
    "blue",
    "brown",
    "green",
    "orange",
    "pink",
    "purple",
    "red",
    "teal",
    "yellow",
    *GREYS,
)
OUTDOORS: tuple[str, ...] = (
    "battlefield", "city", "desert", "forest", "graveyard", "meadow", "mountains", "road", "sea", "snow",
)  # fmt: skip
INDOORS: tuple[str, ...] = ("room", "space", "stage", "underwater")
SETTINGS: tuple[str, ...] = OUTDOORS + INDOORS
TIMES: tuple[str, ...] = ("day", "night", "rain", "sunset")
PLACES: tuple[str, ...] = ("left", "centre", "right")
STYLES: tuple[str, ...] = ("drawing", "painting", "poster", "woodcut")
TEXTURES: tuple[str, ...] = ("clean", "dotted", "grainy", "scratched", "striped")
TONES: tuple[str, ...] = ("colour", "sepia", "black-and-white")
WORDS: tuple[str, ...] = (
    "crime", "death", "dream", "escape", "fear", "fire", "gold", "hero", "home", "hope", "island", "king", "lost",
    "love",
    "magic", "music", "queen", "river", "secret", "storm", "summer", "time", "truth", "war", "west", "wild",
)  # fmt: skip

Attribute = Literal["kind", "colour", "count", "place", "second", "setting", "time", "style", "texture", "tone", "word"]


class SceneError(ValueError):
    """A scene with an attribute outside its list, or with attributes that no picture can show together."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture's attributes; each is named once by its caption.

    `second`, `time` and `word` may be None. Indoor settings have no time of day (nothing there shows it), and sepia and
    black-and-white pictures have only black, grey and white objects (no other colour can be read off them).
    """

    kind: str
    colour: str
    count: int
    place: str
    second: str | None
    setting: str
    time: str | None
    style: str
    texture: str
    tone: str
    word: str | None

    def __post_init__(self) -> None:
        faults = [text for text in (_fault(self, name, allowed) for name, allowed in ALLOWED.items()) if text]
        if (self.time is None) != (self.setting in INDOORS):
            faults.append(f"time={self.time!r}: outdoor settings need a time of day, indoor ones have none")
        if self.tone != "colour" and self.colour not in GREYS:
            faults.append(f"colour={self.colour!r}: a {self.tone} picture shows only {', '.join(GREYS)}")
        if self.second == self.kind:
            faults.append(f"second={self.second!r}: expected another kind than the main object's")
        if self.second and self.count == 4 and self.place == "centre":
            faults.append("second: four objects in the centre leave no room; expected another place or None")
        if faults:
            raise SceneError("; ".join(faults))


ALLOWED: dict[str, tuple[object, ...]] = {
    "kind": KINDS,
    "colour": COLOURS,
    "count": (1, 2, 3, 4),
    "place": PLACES,
    "second": (None, *KINDS),
    "setting": SETTINGS,
    "time": (None, *TIMES),
    "style": STYLES,
    "texture": TEXTURES,
    "tone": TONES,
    "word": (None, *WORDS),
}
ATTRIBUTES: tuple[str, ...] = tuple(field.name for field in fields(Scene))


def _fault(scene: Scene, name: str, allowed: tuple[object, ...]) -> str | None:
    value = getattr(scene, name)
    if value in allowed:
        return None
    return f"{name}={value!r}: expected one of {', '.join(map(str, allowed))}"


def sample_scene(rng: random.Random) -> Scene:
    """Draw a scene: attributes uniform over what the others allow; 60 % with a second object, 60 % with a word."""
    kind = rng.choice(KINDS)
    setting = rng.choice(SETTINGS)
    tone = rng.choice(("colour", "colour", "sepia", "black-and-white"))
    others = [other for other in KINDS if other != kind]
    second = rng.choice(others) if rng.random() < 0.6 else None
    count = rng.choice((1, 1, 2, 3, 4))
    return Scene(
        kind=kind,
        colour=rng.choice(COLOURS if tone == "colour" else GREYS),
        count=count,
        place=rng.choice(("left", "right") if second and count == 4 else PLACES),
        second=second,
        setting=setting,
        time=None if setting in INDOORS else rng.choice(TIMES),
        style=rng.choice(STYLES),
        texture=rng.choice(TEXTURES),
        tone=tone,
        word=rng.choice(WORDS) if rng.random() < 0.6 else None,
    )
