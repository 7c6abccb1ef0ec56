"""The report's files."""

from __future__ import annotations

from pathlib import Path

from models.files import write_atomic
from serving.rollout.report.document import Report
from serving.rollout.report.drawing import png
from serving.rollout.report.figures import plots
from serving.rollout.report.page import page

PAGE, DOCUMENT = "report.html", "report.json"


class FolderError(Exception):
    """A folder that cannot be written; says why."""


def write(report: Report, folder: Path) -> list[Path]:
    """Write the page, the document, and a PNG per plot; each file is there whole or not at all.

    Plots of an earlier report in the folder that this one does not have are removed. Returns the files, the page
    first.

    Raises:
        FolderError: the folder cannot be written.
    """
    try:
        return _write(report, folder)
    except OSError as error:
        raise FolderError(f"{folder}: cannot be written ({error.strerror}); give another folder with --out") from error


def _write(report: Report, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    drawn = plots(report)
    files = {folder / PAGE: page(report, drawn).encode(), folder / DOCUMENT: report.to_json().encode()}
    files |= {folder / f"plot-{each.name}.png": png(each) for each in drawn}
    for file, data in files.items():
        write_atomic(file, data)
    for old in set(folder.glob("plot-*.png")) - set(files):
        old.unlink()
    return list(files)
