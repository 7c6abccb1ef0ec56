"""How an experiment's looks end, by each method: from z at every hour."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import ndtri

from serving.rollout.bench.endings import Endings
from serving.rollout.bench.peeking import METRICS, half_widths, seen
from serving.rollout.bench.running import Floats, Sums, values
from serving.rollout.statistics.spending import Spending, bounds

ALPHA = 0.05
LEAST_USERS = 1000
"""Of each arm before the first look."""
FIRST_WIN = 7 * 24
"""Hours before which nothing is promoted: every day of the week counts once. Harm is called at once."""


def endings(stable: Sums, candidate: Sums, planned: float) -> Mapping[str, Endings]:
    """The same experiments read in every way. `planned` users of both arms are expected at the end."""
    plain, cuped = (
        values(METRICS[name], stable, candidate).z(0.0) for name in ("clicks per view", "clicks per view, CUPED")
    )
    widths = half_widths(stable, candidate, ALPHA)
    enough = seen(stable, candidate, LEAST_USERS)
    once = float(ndtri(1 - ALPHA / 2))
    last = np.zeros_like(enough)
    last[:, -1] = True
    return {
        "always-valid, every hour": _crossed(plain, widths, enough),
        "always-valid, every hour, CUPED": _crossed(cuped, widths, enough),
        "group-sequential, 5 looks, CUPED": _planned(cuped, stable.users + candidate.users, planned),
        "fixed horizon, 28 days, CUPED": _crossed(cuped, np.full_like(cuped, once), last),
        "naive: p < 0.05 at any hour": Endings.first((plain > once) & enough, (plain < -once) & enough),
    }


def _crossed(z: Floats, widths: Floats, looked: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Endings:
    better = (z > widths) & looked
    better[:, : FIRST_WIN - 1] = False
    return Endings.first(better, (z < -widths) & looked)


def _planned(z: Floats, users: np.ndarray[tuple[int, ...], np.dtype[np.int64]], planned: float) -> Endings:
    """Looks at the first hours with a fifth, two fifths... of the planned users; the last one at the end."""
    widths = np.full_like(z, np.inf)
    runs = np.arange(len(z))
    for look in bounds([0.2, 0.4, 0.6, 0.8, 1.0], alpha=ALPHA, spending=Spending.OBRIEN_FLEMING):
        due = np.minimum((users < look.share * planned).sum(axis=1), z.shape[1] - 1)
        if look.share == 1.0:
            due = np.full(len(z), z.shape[1] - 1)
        widths[runs, due] = look.bound
    return _crossed(z, widths, np.isfinite(widths))
