"""A ranking of an enrolled user as an exposure, handed to a recorder."""

import os
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from models.experiments.assignment import Assignment
from models.experiments.events import KEY_BYTES, KEY_VARIABLE, Exposure, pseudonym
from serving.transformer.ranker import Ranking


class Recorder(Protocol):
    """Takes exposures away: `record` never blocks and never raises; `run` writes until it is cancelled."""

    def record(self, exposure: Exposure) -> None:
        """Queue it, or count that there was no room."""
        ...

    async def run(self) -> None:
        """Write what was queued; when cancelled, write the rest."""
        ...


def pseudonym_key(environ: Mapping[str, str]) -> bytes:
    """The site's key of pseudonyms. Raises ValueError, which never shows it."""
    key = environ.get(KEY_VARIABLE, "").encode()
    if len(key) < KEY_BYTES:
        raise ValueError(
            f"{KEY_VARIABLE} has {len(key)} bytes; expected at least {KEY_BYTES}, the same key as the collector has: "
            "exposures leave this process under pseudonyms only; set it, or leave --exposures out"
        )
    return key


class ExposureWriter:
    """Makes exposures. `now` gives seconds since 1970, `new_id` an id that is never given twice."""

    def __init__(
        self, recorder: Recorder, key: bytes, *, items: int, now: Callable[[], float], new_id: Callable[[], str]
    ) -> None:
        """`items`: so many of the best are kept of each ranking."""
        self._recorder, self._key, self._items = recorder, key, items
        self._now, self._new_id = now, new_id

    def write(
        self, model: str, assignment: Assignment, ranking: Ranking, *, arm: str, served: str, took: float
    ) -> None:
        """Hand the recorder the exposure of a ranking; `took` is in seconds."""
        found, item_ids, best = ranking.features, ranking.request.item_ids, ranking.order[: self._items]
        exposure = Exposure(
            id=self._new_id(),
            time=self._now(),
            experiment=assignment.experiment,
            uid=assignment.uid,
            revision=assignment.revision,
            user=pseudonym(self._key, ranking.request.user_id),
            arm=arm,
            served=served,
            fallback=ranking.fallback,
            model=model,
            bundle_id=ranking.bundle_id,
            contract_digest=ranking.contract_digest,
            candidates=len(item_ids),
            captioned=int(np.count_nonzero(found.caption_stored | found.caption_inline)),
            seconds=took,
            degraded=found.degraded,
            items=tuple(item_ids[i] for i in best.tolist()),
            scores=tuple(ranking.scores[best].tolist()),
        )
        self._recorder.record(exposure)


def random_id() -> str:
    """128 random bits in hex."""
    return os.urandom(16).hex()
