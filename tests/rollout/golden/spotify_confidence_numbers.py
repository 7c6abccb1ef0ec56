"""Writes spotify_confidence.json: what spotify-confidence 4.1.0 says of small fixed data.

The library is too heavy for this project's environment, so its numbers are kept and the tests compare with them:

    python3.11 -m venv /tmp/confidence && /tmp/confidence/bin/pip install spotify-confidence==4.1.0
    /tmp/confidence/bin/python tests/rollout/golden/spotify_confidence_numbers.py
"""

import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from spotify_confidence import SampleSizeCalculator, ZTest, ZTestLinreg
from spotify_confidence.analysis.frequentist.sample_ratio_test import sample_ratio_test
from spotify_confidence.analysis.frequentist.sequential_bound_solver import bounds

SHARES = ([0.2, 0.4, 0.6, 0.8, 1.0], [0.05, 0.1, 0.5, 0.52, 0.9, 1.0])


def users() -> dict[str, dict[str, list[int]]]:
    """Whole numbers, so that sums have no rounding."""
    draw = np.random.default_rng(20)
    arms = {}
    for arm, count, lift in (("stable", 90, 1.0), ("candidate", 60, 1.25)):
        taste = draw.gamma(3, 2, count)
        arms[arm] = {
            "views": draw.poisson(lift * taste).tolist(),
            "before": draw.poisson(taste).tolist(),
            "came": draw.binomial(1, 0.3 * lift, count).tolist(),
        }
    return arms


def frame(arms: dict[str, dict[str, list[int]]], column: str) -> pd.DataFrame:
    rows = []
    for arm, columns in arms.items():
        values, before = np.array(columns[column], float), np.array(columns["before"], float)
        rows.append(
            {
                "arm": arm,
                "n": len(values),
                "y": values.sum(),
                "yy": (values**2).sum(),
                "x": before.sum(),
                "xx": (before**2).sum(),
                "xy": (before * values).sum(),
            }
        )
    return pd.DataFrame(rows)


def difference(test: Any, **given: Any) -> dict[str, float]:
    row = test.difference("stable", "candidate", verbose=True, **given).iloc[0]
    names = ("difference", "ci_lower", "ci_upper", "p-value", "std_err")
    return {name: float(row[name]) for name in names if pd.notna(row.get(name)) and np.isfinite(row[name])}


def z_test(arms: dict[str, dict[str, list[int]]], column: str) -> ZTest:
    return ZTest(frame(arms, column), "y", "yy", "n", ["arm"], interval_size=0.95)


def sample_size() -> float:
    """Users of two even arms that show +2 % of a metric of mean 4 and variance 36."""
    data = pd.DataFrame(
        [{"metric": "views", "mean": 4.0, "variance": 36.0, "binary": False, "mde": 0.02, "nim": None, "way": None}]
    )
    sizes = SampleSizeCalculator(data, "mean", "variance", "binary", metric_column="metric", power=0.8)
    found = sizes.sample_size([1, 1], "mde", "nim", "way")
    return float(found["required_sample_size_for_metric"].iloc[0])


def main() -> None:
    warnings.simplefilter("ignore")  # pandas' and numpy's, about the library's own code
    arms = users()
    linreg = ZTestLinreg(frame(arms, "views"), "y", "yy", "n", "x", "xx", "xy", ["arm"], interval_size=0.95)
    counts = frame(arms, "views")
    ratio_p, _ = sample_ratio_test(counts, ["arm"], "n", {"stable": 0.5, "candidate": 0.5})
    document = {
        "library": f"spotify-confidence {version('spotify-confidence')}",
        "users": arms,
        "mean": difference(z_test(arms, "views")),
        "mean_relative": difference(z_test(arms, "views"), absolute=False),
        "share": difference(z_test(arms, "came")),
        "covariate": difference(linreg),
        "non_inferiority": difference(z_test(arms, "views"), non_inferiority_margins=(0.1, "increase")),
        "sample_size": sample_size(),
        "ratio_p": float(ratio_p),
        "bounds": [
            {
                "shares": shares,
                "alpha": 0.05,
                "spent": [0.05 * share**2 for share in shares],
                "z": bounds(np.array(shares), 0.05, rho=2, ztrun=8, sides=2, max_nints=1000).df["zb"].tolist(),
            }
            for shares in SHARES
        ],
    }
    Path(__file__).with_name("spotify_confidence.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
