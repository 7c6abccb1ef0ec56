"""Three ways to part a data set into training, validation and test rows.

None lets the future, or a held-out film, into training.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.data.dataset import Dataset
from training.data.errors import SplitError

Rows = npt.NDArray[np.int64]

SPLITS = ("within_user", "global_time", "new_items")
VALID_FRACTION = 0.1
TEST_FRACTION = 0.2
FOLDS = 5


@dataclass(frozen=True)
class Split:
    """Row numbers into `Dataset.interactions`, ascending, disjoint and together complete.

    Attributes:
        name: one of SPLITS.
        train, valid, test: int64 row numbers; training is never empty.
    """

    name: str
    train: Rows
    valid: Rows
    test: Rows


def split(dataset: Dataset, name: str, *, seed: int = 0, fold: int = 0) -> Split:
    """The split of that name; `seed` and `fold` matter to `new_items` only.

    Raises:
        SplitError: no split has this name, or the data are too few for it.
    """
    if name == "within_user":
        return within_user_time(dataset)
    if name == "global_time":
        return global_time(dataset)
    if name == "new_items":
        return new_items(dataset, seed, fold)
    raise SplitError(f"split {name!r} is unknown; expected one of {', '.join(SPLITS)}")


def within_user_time(dataset: Dataset) -> Split:
    """Each user's last 20 % of interactions are test, the 10 % before are validation, the rest training.

    Both shares are rounded down: a user with fewer than 5 interactions is in training only. Interactions of
    one user at one second are put in order by a hash of their content, which favours no item and does not
    depend on the order of rows; the boundary may pass through such a group, so that within a user train <=
    valid <= test in time, not <.

    Raises:
        SplitError: no user has enough interactions.
    """
    frame = dataset.interactions
    order = _time_order(frame)
    users = frame["user_id"].to_numpy(dtype=str)[order]
    starts = np.flatnonzero(np.r_[True, users[1:] != users[:-1]])
    sizes = np.diff(np.r_[starts, len(users)])
    position = np.arange(len(users)) - np.repeat(starts, sizes)
    test_sizes = np.floor(sizes * TEST_FRACTION + 1e-9).astype(np.int64)
    valid_sizes = np.floor(sizes * VALID_FRACTION + 1e-9).astype(np.int64)
    first_test = np.repeat(sizes - test_sizes, sizes)
    first_valid = np.repeat(sizes - test_sizes - valid_sizes, sizes)
    part = np.where(position >= first_test, 2, np.where(position >= first_valid, 1, 0))
    return _parts("within_user", order, part)


def global_time(dataset: Dataset) -> Split:
    """The last 20 % of all interactions are test, the 10 % before are validation, whoever they belong to.

    The two boundaries are moments: interactions of one second are never parted (they go to the earlier part),
    so that train < valid < test strictly, and the shares are met as nearly as that allows.

    Raises:
        SplitError: too few distinct moments.
    """
    times = dataset.interactions["timestamp"].to_numpy(dtype=np.int64)
    if len(times) == 0:
        raise SplitError("split global_time: the data set has no interactions; expected at least 3 moments")
    ordered = np.sort(times)
    last_train = ordered[_boundary(len(ordered), 1.0 - TEST_FRACTION - VALID_FRACTION)]
    last_valid = ordered[_boundary(len(ordered), 1.0 - TEST_FRACTION)]
    part = np.where(times > last_valid, 2, np.where(times > last_train, 1, 0))
    return _parts("global_time", np.arange(len(times)), part)


def new_items(dataset: Dataset, seed: int = 0, fold: int = 0) -> Split:
    """A fifth of the items is test and a tenth validation, with all their interactions: unseen in training.

    Items are put in order by a hash of seed and id and cut into ten slices; fold f tests slices 2f and 2f+1
    and validates on the next, so that the five folds of a seed test every item once. Time plays no part:
    training may hold interactions that are later than a test one.

    Raises:
        SplitError: the fold is not in 0..4 or there are fewer than 10 items.
    """
    if not 0 <= fold < FOLDS:
        raise SplitError(f"fold {fold} is out of range; expected 0 to {FOLDS - 1}")
    items = dataset.interactions["item_id"].to_numpy(dtype=str)
    names, codes = np.unique(items, return_inverse=True)
    slices = 2 * FOLDS
    if len(names) < slices:
        raise SplitError(
            f"split new_items needs at least {slices} items with interactions; the data set has {len(names)}"
        )
    ranks = np.argsort(np.argsort([_hash(str(seed), name) for name in names], kind="stable"), kind="stable")
    slice_of = ranks * slices // len(names)
    part_of = np.where(slice_of // 2 == fold, 2, np.where(slice_of == (2 * fold + 2) % slices, 1, 0))
    return _parts("new_items", np.arange(len(items)), part_of[codes])


def _time_order(frame: pd.DataFrame) -> Rows:
    """Row numbers by user, time and content hash: the same rows in the same order, however the table was
    sorted.
    """
    users = frame["user_id"].to_numpy(dtype=str)
    labels = frame["label"].to_numpy(dtype=np.float64)
    ties = np.array(
        [_hash(u, i, repr(label)) for u, i, label in zip(users, frame["item_id"], labels.tolist(), strict=True)],
        dtype=np.uint64,
    )
    order: Rows = np.lexsort((ties, frame["timestamp"].to_numpy(dtype=np.int64), users))
    return order


def _hash(*parts: str) -> int:
    joined = "\x1f".join(parts).encode()
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "little")


def _boundary(rows: int, fraction: float) -> int:
    return max(0, int(rows * fraction + 1e-9) - 1)


def _parts(name: str, rows: Rows, part: Rows) -> Split:
    train, valid, test = (np.sort(rows[part == number]).astype(np.int64) for number in range(3))
    if len(train) == 0 or len(test) == 0:
        raise SplitError(
            f"split {name} gives {len(train)} training, {len(valid)} validation and {len(test)} test rows "
            f"of {len(rows)}; expected some of each: bring more interactions"
        )
    return Split(name, train, valid, test)
