"""Bring your own data: a folder (or fsspec URI) with the tables interactions, items and users, and columns.yaml."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import yaml

from models.files import new_folder
from training.data.dataset import Dataset
from training.data.errors import DataError, DatasetError
from training.data.faults import Faults
from training.data.roles import CONTEXT, FILE, Roles
from training.data.table_files import DELIMITERS, PARQUET, TABLES, TableFolder, TableUnreadableError, driver_errors
from training.data.table_schema import FIXED, checked_frame, feature_columns, one_owner_per_name, plain
from training.data.validate import check_tables, is_url

POSITIVE_RATING = 4.0
URL_SCHEMES = ("https", "http", "data")


def read(
    location: str | Path,
    *,
    url_schemes: Sequence[str] = URL_SCHEMES,
    positive_rating: float = POSITIVE_RATING,
    clock: Callable[[], float] = time.time,
) -> Dataset:
    """Read and validate a data set; the README describes the format.

    Args:
        location: a folder, or a URI whose fsspec driver is installed.
        url_schemes: schemes that an item's image URL may have.
        positive_rating: where there is a column `rating` and no `label`: the label is 1 from this rating on.
        clock: seconds since 1970; a later timestamp is a fault.

    Returns:
        The data set; relative image paths have become absolute ones (or full URIs), whether a file is there or not:
        one lost picture must not stop a catalogue, who captions it says so. The digest is over the
        content as it is in the files, so that a folder that is moved keeps it.

    Raises:
        DatasetError: with all faults that were found.
    """
    faults = Faults()
    folder = _folder(location, faults)
    frames = _frames(folder, faults) if folder is not None else {}
    if folder is not None and frames:
        check_tables(frames, folder, faults, url_schemes=url_schemes, now=clock(), positive_rating=positive_rating)
    if faults.found or folder is None:
        raise DatasetError(str(location), faults.found)
    frames = {name: plain(frame) for name, frame in frames.items()}
    interactions = frames["interactions"]
    if "label" not in interactions.columns:
        interactions = interactions.assign(label=(interactions["rating"] >= positive_rating).astype("float32"))
    dataset = Dataset.of(interactions, frames["items"], frames["users"])
    images = dict(zip(dataset.items["item_id"], dataset.items["image"], strict=True))
    return dataset.with_images({item: _place(image, folder) for item, image in images.items() if image is not None})


def place_of(location: str | Path) -> str:
    """Where the tables are, the same from any working folder: an absolute path, or the URI."""
    text = str(location)
    return text.rstrip("/") if "://" in text else str(Path(text).resolve())


def write(dataset: Dataset, folder: Path) -> Path:
    """Write a data set in the format that `read` takes; the folder appears whole or not at all.

    Images with a path are copied to `folder`/images, so that the folder can be moved; URLs stay as they are.

    Raises:
        DataError: an image file is missing.
        FileExistsError: the folder exists.
    """
    with new_folder(folder) as made:
        items = dataset.items.copy()
        rows = zip(items["item_id"], items["image"], strict=True)
        items["image"] = pd.Series([_copied(item, image, made) for item, image in rows], dtype=object)
        for name, frame in zip(TABLES, (dataset.interactions, items, dataset.users), strict=True):
            frame.to_parquet(made / f"{name}.parquet", index=False)
        if context := feature_columns("interactions", dataset.interactions):
            declared = {"interactions": dict.fromkeys(context, CONTEXT)}
            (made / FILE).write_text(yaml.safe_dump(declared, allow_unicode=True), "utf-8")
    return folder


def _folder(location: str | Path, faults: Faults) -> TableFolder | None:
    try:
        folder = TableFolder.at(location)
    except (ValueError, ImportError) as error:
        faults.add(
            "folder", "", str(location), "a folder or a URI that fsspec can open", f"{error}. Install its driver"
        )
        return None
    try:
        there = folder.exists()
    except driver_errors() as error:
        fix = f"{error or type(error).__name__}. Check its address and credentials"
        faults.add("folder", "", str(location), "a folder that can be read", fix)
        return None
    if not there:
        names = ", ".join(f"{name}.parquet" for name in TABLES)
        faults.add("folder", "", str(location), f"a folder with {names}", "Correct the path or make the folder")
        return None
    return folder


def _frames(folder: TableFolder, faults: Faults) -> dict[str, pd.DataFrame]:
    frames: dict[str, pd.DataFrame] = {}
    roles = _roles(folder, faults)
    for name in TABLES:
        file = _file(name, folder, faults)
        if file is None:
            continue
        try:
            table = folder.read(file)
        except TableUnreadableError as error:
            kind = "Parquet" if file.endswith(PARQUET) else "CSV" if ".csv" in file else "TSV"
            faults.add(name, "", str(error), f"a {kind} file at {folder.path(file)}", "Write the file again")
            continue
        named = roles.applied(name, table, faults)
        frames[name] = checked_frame(name, named, faults, untyped=not file.endswith(PARQUET))
    one_owner_per_name(frames, faults)
    return frames


def _file(name: str, folder: TableFolder, faults: Faults) -> str | None:
    """The file of a table; None, and a fault, where there is none or more than one."""
    files = folder.files(name)
    if len(files) == 1:
        return files[0]
    if files:
        faults.add(name, "", " and ".join(files), "one file", "Remove all but the one that counts")
        return None
    others = folder.others(name)
    found = f"no file that can be read, but {', '.join(others)}" if others else "no file"
    fix = f"Write it with columns {', '.join(FIXED[name])}"
    if others:
        fix = f"Convert it, for instance by pandas: frame.to_parquet('{name}{PARQUET}')"
    faults.add(name, "", found, f"a Parquet file at {folder.path(name + PARQUET)} (or {', '.join(DELIMITERS)})", fix)
    return None


def _roles(folder: TableFolder, faults: Faults) -> Roles:
    try:
        return Roles.parse(folder.text(FILE) or "", faults)
    except TableUnreadableError as error:
        faults.add(FILE, "", str(error), "YAML in UTF-8", "Write the file again")
        return Roles({})


def _place(image: str, folder: TableFolder) -> str:
    place = image if is_url(image) else folder.resolve(image)
    assert place is not None  # the validator has refused paths that leave the folder
    return place


def _copied(item_id: str, image: str | None, folder: Path) -> str | None:
    if image is None or is_url(image):
        return image
    source = Path(image)
    target = Path("images") / f"{quote(item_id, safe='')}{source.suffix}"
    (folder / "images").mkdir(exist_ok=True)
    try:
        shutil.copyfile(source, folder / target)
    except FileNotFoundError as error:
        raise DataError(
            f"item {item_id!r} has its image at {image}; expected a file there: correct the path"
        ) from error
    return target.as_posix()
