"""What a variance is believed to be at the edges: in an arm whose users are all alike, and between uneven arms.

**An arm whose users all have one number** (nobody clicked) has no empirical variance, and is not thereby certain: it is
taken to be as uncertain as if one of its users had differed, by as much as users of the other arm differ from that
number. Of 0 in n users, against shares of users, that is a standard error of 1/n, the one that a single success would
have: three of them are the "rule of three" (Hanley, Lippman-Hand, JAMA 1983), and it is what adding a success to an arm
does (Agresti, Caffo, The American Statistician 2000). Where both arms are constant, and differ, each takes its scale
from the gap between them. Where both have the same number there is nothing to take a scale from: no difference, and no
interval either.

**Arms of different sizes.** Where a few users decide the sums, a small arm often has none of them: its value and its
own variance are then small together, and the difference looks sure. If nothing differed, both arms would have the same
variance, best known from both (the pooled variance of Student's test; of a score test, as it is the one under "no
difference"). The greater of that and of the arms' own (Welch) is used: it is right where the variances agree, and not
too small where they do not. Between arms of one size both are equal, so nothing changes there. `bench.simulate` has the
chances of a false claim at 50/50, 20/80 and 10/90.
"""

from __future__ import annotations

from math import sqrt

NOISE = 1e-12
"""Values that differ by less than this part of themselves are equal: sums of doubles in another order do."""


def equal(left: float, right: float) -> bool:
    """Whether two values differ by rounding at most."""
    return abs(left - right) <= NOISE * max(abs(left), abs(right))


def least_variance(users: int, gap: float, spread: float, weight: float = 1.0) -> float:
    """Variance of the value of an arm whose users all have the same number.

    Args:
        gap: the other arm's value less this one's.
        spread: variance of one user's number in the other arm.
        weight: the other arm's denominator per user over this one's; 1 for a mean per user.

    One user more is off by `(spread + gap**2) / |gap|`: the mean of what users of the other arm are off by, each
    weighted by it (of successes against none it is 1). It makes this arm at most as uncertain as users who are spread
    like the other arm's would.
    """
    most = abs(gap) + sqrt(spread * users)
    off = min((spread + gap**2) / abs(gap), most) if gap else most
    error = off * weight / users
    return error * error


def widening(users: tuple[int, int], variances: tuple[float, float]) -> float:
    """By what the sum of the arms' variances (of their values) is too small, if users of both are equally spread.

    1 where arms have the same size, and where the arms' own variances are the greater ones.
    """
    own = sum(variances)
    if not own > 0 or sum(users) <= 2:
        return 1.0
    pooled = sum((count - 1) * count * each for count, each in zip(users, variances, strict=True)) / (sum(users) - 2)
    return max(1.0, pooled * sum(1 / count for count in users) / own)
