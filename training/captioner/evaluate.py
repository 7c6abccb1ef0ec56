"""How much of a picture a captioner reads right: exact captions, each attribute, and what it takes for what."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from models.captioner.caption import Caption
from training.captioner.grammar import CaptionParseError, caption, parse
from training.captioner.scene import ATTRIBUTES, Scene


@dataclass(frozen=True, slots=True)
class Confusion:
    """`times` an attribute was `shown` and `read` otherwise."""

    attribute: str
    shown: str
    read: str
    times: int


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Shares from 0 to 1 over `pictures`; `attributes` counts an unreadable caption as wrong in every attribute.

    `named` is the share of right values among the attributes that the true captions name (an absent second object,
    time or word is not named): the strictest reading of "attributes right", without the easy absences.
    """

    pictures: int
    exact: float
    attributes: dict[str, float]
    mean_attribute: float
    named: float
    unreadable: int
    confusions: tuple[Confusion, ...]

    def as_json(self) -> dict[str, object]:
        """Plain JSON values, shares rounded to five digits."""
        plain = asdict(self)
        plain["attributes"] = {name: round(share, 5) for name, share in self.attributes.items()}
        return plain | {key: round(plain[key], 5) for key in ("exact", "mean_attribute", "named")}


def measure(scenes: Sequence[Scene], captions: Sequence[Caption], worst: int = 40) -> Accuracy:
    """Compare captions with the scenes that were drawn; `worst` bounds the list of confusions.

    Raises:
        ValueError: no scenes, or not one caption per scene.
    """
    if not scenes or len(scenes) != len(captions):
        raise ValueError(
            f"{len(scenes)} scenes and {len(captions)} captions: expected one caption per scene, at least one"
        )
    right: Counter[str] = Counter()
    wrong: Counter[tuple[str, str, str]] = Counter()
    named, unreadable = [0, 0], 0
    for scene, said in zip(scenes, captions, strict=True):
        read = _read(said.text)
        unreadable += read is None
        for name in ATTRIBUTES:
            shown, found = getattr(scene, name), getattr(read, name) if read else "?"
            right[name] += shown == found
            if shown != found:
                wrong[name, str(shown), str(found)] += 1
            if shown is not None:
                named[0] += shown == found
                named[1] += 1
    count = len(scenes)
    shares = {name: right[name] / count for name in ATTRIBUTES}
    return Accuracy(
        pictures=count,
        exact=sum(said.text == caption(scene) for scene, said in zip(scenes, captions, strict=True)) / count,
        attributes=shares,
        mean_attribute=sum(shares.values()) / len(shares),
        named=named[0] / named[1],
        unreadable=unreadable,
        confusions=tuple(Confusion(*key, times) for key, times in wrong.most_common(worst)),
    )


def _read(text: str) -> Scene | None:
    try:
        return parse(text)
    except CaptionParseError:
        return None
