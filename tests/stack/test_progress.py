"""Signs of life without a terminal, with a clock that the test turns."""

import itertools
from dataclasses import dataclass, field

from serving.stack.lines import SILENCE_SECONDS, Lines


@dataclass
class Told:
    """Lines with the second at which each was written."""

    now: float = 0.0
    lines: list[tuple[float, str]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def write(self, text: str) -> None:
        self.lines.append((self.now, text))

    def pass_seconds(self, lines: Lines, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            lines.tick()


def test_a_step_is_told_at_its_begin_and_at_its_end() -> None:
    told = Told()
    lines = Lines(told.write, told.clock)
    lines.report("captioning", 0, 1682)
    told.now = 24
    lines.report("captioning", 1682, 1682)
    lines.report("captioning", 1682, 1682)
    assert told.lines == [(0, "[ 0:00] captioning: 0 of 1,682"), (24, "[ 0:24] captioning: 1,682 of 1,682 done (24 s)")]


def test_no_silence_is_longer_than_ten_seconds_even_where_nothing_can_be_counted() -> None:
    told = Told()
    lines = Lines(told.write, told.clock)
    lines.report("waiting for the captioner", 0, 1)
    told.pass_seconds(lines, 95)
    moments = [0.0, *(moment for moment, _ in told.lines), 95.0]
    assert max(after - before for before, after in itertools.pairwise(moments)) <= SILENCE_SECONDS
    assert told.lines[1][1] == "[ 0:09] waiting for the captioner: after 9 s"


def test_what_is_left_follows_from_the_rate_of_this_step() -> None:
    told = Told()
    lines = Lines(told.write, told.clock)
    told.now = 100
    lines.report("training", 0, 2100)
    told.now = 105
    lines.report("training", 525, 2100)
    told.pass_seconds(lines, 5)
    assert told.lines[-1] == (109, "[ 1:49] training: 525 of 2,100 after 9 s, about 27 s to go")


def test_what_an_earlier_run_did_is_not_counted_as_this_ones_speed() -> None:
    told = Told()
    lines = Lines(told.write, told.clock)
    lines.report("captioning", 1000, 2000)
    told.now = 10
    lines.report("captioning", 1100, 2000)
    lines.tick()
    assert told.lines[-1][1] == "[ 0:10] captioning: 1,100 of 2,000 after 10 s, about 90 s to go"


def test_the_time_after_a_step_is_no_silence_either() -> None:
    told = Told()
    lines = Lines(told.write, told.clock)
    lines.report("training", 0, 1)
    lines.report("training", 1, 1)
    told.pass_seconds(lines, 30)
    assert len(told.lines) == 5
