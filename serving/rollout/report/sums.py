"""Raw sums and deviations per arm, as they come from users, before CUPED or any division."""

from __future__ import annotations

from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Look
from serving.rollout.report import words
from serving.rollout.report.document import SumView


def sums(spec: ExperimentSpec, look: Look | None) -> tuple[SumView, ...]:
    """A row per column and arm's pair; empty for looks of which only the interval was kept."""
    if look is None:
        return ()
    meanings = {column.name: words.column(column) for column in spec.columns()}
    meanings |= {column.before: f"{words.column(column)}, before the first exposure" for column in spec.columns()}
    return tuple(
        SumView(
            name=name,
            meaning=meanings.get(name, name),
            stable_sum=stable,
            candidate_sum=candidate,
            stable_deviation=look.deviations[name][0] if name in look.deviations else None,
            candidate_deviation=look.deviations[name][1] if name in look.deviations else None,
        )
        for name, (stable, candidate) in look.sums.items()
    )
