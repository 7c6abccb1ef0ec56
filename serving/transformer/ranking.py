"""Scores to an order."""

import numpy as np
import numpy.typing as npt


def best_first(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Positions by falling score, int64 [n]; equal scores keep the order of the request.

    Negating a float32 is exact, so a stable ascending sort of the negated scores is that order.
    """
    return np.argsort(-scores, kind="stable").astype(np.int64, copy=False)
