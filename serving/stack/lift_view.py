"""The lift in words and table cells: the same for the terminal, the page and the README."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.bootstrap import MIN_CLUSTERS
from training.lift import Gain, LiftReport, Row, SplitReport

TITLES = {
    "within_user": "Each user's later interactions (time-ordered within users; primary)",
    "global_time": "The last interactions of all (global time)",
    "new_items": "New items (films wholly unseen in training)",
}
COLUMNS = ("AUC", "± seeds", "AUC in users", "log loss", "calibration")


@dataclass(frozen=True)
class NamedCells:
    """A table row."""

    name: str
    cells: Sequence[str]


@dataclass(frozen=True)
class SplitView:
    """One split's table, and what it means."""

    title: str
    columns: Sequence[str]
    rows: Sequence[NamedCells]
    verdict: str
    slices: Sequence[str]
    remarks: Sequence[str]


def views(report: LiftReport) -> list[SplitView]:
    """A view of each split of the report."""
    return [_view(split, report) for split in report.splits]


def _view(split: SplitReport, report: LiftReport) -> SplitView:
    rows = [NamedCells(row.variant, _cells(row)) for row in split.rows]
    level = f"{report.level:.0%}"
    verdict = f"Captions: {sentence(split.lift)} ({level} interval, {split.lift.clusters} {split.resampled} resampled)."
    if split.reference_lift is not None:
        verdict += f" The most that these pictures' words could give: {sentence(split.reference_lift)}."
    slices = [f"{name}: {sentence(gain)} ({gain.rows:,} rows)" for name, gain in split.slices.items() if gain.rows]
    remarks = [f"{remark[:1].upper()}{remark[1:]}." for remark in split.remarks]
    if split.unfit:
        remarks.append(
            "NOT FIT TO BE SERVED: it is placed and published by --force alone, of train, export and models publish."
        )
    return SplitView(TITLES.get(split.split, split.split), COLUMNS, rows, verdict, slices, remarks)


def sentence(gain: Gain) -> str:
    """A difference with its interval and its verdict."""
    if gain.difference is None or gain.low is None or gain.high is None or not gain.auc_without:
        return "no AUC on these rows (one class only)"
    if gain.verdict == "too few to tell":
        of = f"{MIN_CLUSTERS} users or items with rows of either outcome are wanted, {gain.deciding} are there"
        return f"{gain.difference:+.4f} AUC, too few to tell: {of}"
    relative = gain.difference / gain.auc_without
    return f"{gain.difference:+.4f} AUC ({relative:+.2%}) [{gain.low:+.4f}, {gain.high:+.4f}], {gain.verdict}"


def _cells(row: Row) -> list[str]:
    return [
        number(row.auc),
        "" if row.auc_spread is None else f"{row.auc_spread:.4f}",
        number(row.user_auc),
        number(row.log_loss),
        "" if row.calibration_ratio is None else f"{row.calibration_ratio:.3f}",
    ]


def number(value: float | None) -> str:
    """Four digits, or a dash."""
    return "–" if value is None else f"{value:.4f}"
