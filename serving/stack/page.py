"""The demo's page: what each film looks like, what was read off it, and what that did to its score."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from models.files import write_atomic
from serving.stack.encoded import Encoded
from serving.stack.lift_view import SplitView


@dataclass(frozen=True)
class Film:
    """A film as it is shown: its poster, what was read off it, and what the contract makes of that."""

    title: str
    genres: str
    poster: Path
    caption: str
    encoded: Encoded
    cold: bool

    @property
    def image(self) -> str:
        """The poster as a data address, so that the page is one file."""
        return "data:image/png;base64," + base64.b64encode(self.poster.read_bytes()).decode()


@dataclass(frozen=True)
class RankedFilm:
    """One candidate of one user.

    `score` and `score_without` are probabilities from the two served rankers, `rank` and `rank_without` its places in
    their answers, `label` the held-out answer (True: liked).
    """

    film: Film
    score: float
    score_without: float
    rank: int
    rank_without: int
    label: bool

    @property
    def moved(self) -> int:
        """Places gained by the caption (negative: lost)."""
        return self.rank_without - self.rank


@dataclass(frozen=True)
class UserPanel:
    """One user: who, what they liked in training, and their ranking."""

    user_id: str
    about: str
    liked: Sequence[Film]
    ranking: Sequence[RankedFilm]


@dataclass(frozen=True)
class DemoPage:
    """Everything on the page; each figure was measured by the run that writes it."""

    users: Sequence[UserPanel]
    cold_below: int
    lift: Sequence[SplitView]
    facts: Mapping[str, str]
    calls: Mapping[str, str]
    logs: Mapping[str, str]
    minor: Sequence[str] = ("± seeds", "calibration")
    """Columns of the lift that a narrow screen does without."""

    def write(self, path: Path) -> None:
        """Render the page into one file.

        Raises:
            FileNotFoundError: a poster is missing.
        """
        loader = jinja2.FileSystemLoader(Path(__file__).parent)
        environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
        text = environment.get_template("page.html.j2").render(page=self)
        write_atomic(path, text.encode())
