"""Events as they are sent to the collector."""

import hashlib
import hmac
from typing import Any

from models.experiments.events import EXPOSURE_TYPE

DIGEST = "sha256:" + "0" * 64
UID = "7c1b2a"


def pseudonym(user: str, key: str) -> str:
    return hmac.new(key.encode(), user.encode(), hashlib.sha256).hexdigest()[:32]


def exposure(event_id: str, user: str, time: float, *, key: str, **fields: Any) -> dict[str, Any]:
    """A CloudEvent, as the transformer sends it."""
    data = {
        "id": event_id,
        "time": time,
        "experiment": "captions",
        "uid": UID,
        "revision": 1,
        "user": pseudonym(user, key),
        "arm": "stable",
        "served": "stable",
        "model": "ranker",
        "bundle_id": DIGEST,
        "contract_digest": DIGEST,
        "candidates": 100,
        "captioned": 40,
        "seconds": 0.0042,
        "items": ["i1", "i2"],
        "scores": [0.5, 0.25],
        **fields,
    }
    return {"specversion": "1.0", "id": event_id, "source": "/test", "type": EXPOSURE_TYPE, "data": data}


def outcome(event_id: str, user: str, time: float, **fields: Any) -> dict[str, Any]:
    return {"id": event_id, "time": time, "user": user, "event": "click", **fields}
