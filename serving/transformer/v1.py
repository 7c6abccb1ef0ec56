"""KServe's V1 protocol: `{"instances": [...]}` to rankings and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from serving.transformer.ranker import INLINE, MISSING, STORED, Ranking


def write_v1(model: str, rankings: Sequence[Ranking]) -> bytes:
    """The JSON body `{"predictions": [...]}`, one prediction per instance, candidates in rank order."""
    return orjson.dumps({"predictions": [prediction(model, ranking) for ranking in rankings]})


def prediction(model: str, ranking: Ranking) -> dict[str, Any]:
    """One instance's answer as JSON values."""
    digest = {"contract_digest": ranking.contract_digest} if ranking.contract_digest else {}
    arm = {"arm": ranking.arm, "experiment": ranking.experiment}
    return {
        "user_id": ranking.request.user_id,
        "user_known": ranking.features.user_known,
        "model": model,
        **digest,
        **{key: value for key, value in arm.items() if value is not None},
        "degraded": list(ranking.degraded),
        "ranking": _ranked(ranking),
    }


def _ranked(ranking: Ranking) -> list[dict[str, Any]]:
    found, item_ids = ranking.features, ranking.request.item_ids
    order = ranking.order
    caption = np.where(found.caption_inline, 2, np.where(found.caption_stored, 1, 0))[order].tolist()
    known = found.item_known[order].tolist()
    scores = ranking.scores[order].tolist()
    captions, items = (MISSING, STORED, INLINE), ("unknown", "known")
    return [
        {"item_id": item_ids[i], "score": score, "rank": rank, "caption": captions[c], "item": items[k]}
        for rank, (i, score, c, k) in enumerate(zip(order.tolist(), scores, caption, known, strict=True), start=1)
    ]
