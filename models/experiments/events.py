"""What happened to users: exposures, written by the transformer, and outcomes, sent by whoever sees what users do.

Both carry an id of their own: the same id again is the same event. Times are seconds since 1970, UTC. At rest a user is
only a pseudonym, an HMAC of the id under a key of the site; the key gone, nobody can be found again.
"""

from __future__ import annotations

import hmac
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

EXPOSURE_TYPE = "dev.sightline.exposure.v1"
"""The CloudEvents type of an exposure."""

KEY_VARIABLE = "SIGHTLINE_PSEUDONYM_KEY"
"""Environment variable with the key of pseudonyms: the same in transformers and collector."""
KEY_BYTES = 16
"""A key has at least so many bytes of UTF-8."""
KEY_HEADER = "x-sightline-pseudonyms"
"""Header of a request with exposures: the fingerprint of the key under which they were made."""

EventId = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Pseudonym = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A name that repeats in many events."""
ItemId = Annotated[str, StringConstraints(max_length=512)]
Short = Annotated[str, StringConstraints(max_length=64)]
MOST_ITEMS = 4096
MOST_DETAIL = 256 << 10
"""Characters of an exposure's items together."""
EVENT_NAME = r"^[a-z][a-z0-9_]{0,62}$"
EventName = Annotated[str, StringConstraints(pattern=EVENT_NAME)]
Seconds = Annotated[float, Field(gt=0, lt=1e11, allow_inf_nan=False)]


def pseudonym(key: bytes, user_id: str) -> str:
    """HMAC-SHA256 of the user's id, the first 16 bytes in hex."""
    return hmac.digest(key, user_id.encode(), "sha256")[:16].hex()


def key_fingerprint(key: bytes) -> str:
    """By which two processes see that they have the same key, without showing it: 32 hex digits."""
    return hmac.digest(key, b"sightline collector", "sha256").hex()[:32]


class Exposure(BaseModel):
    """A ranking that an enrolled user was given.

    `arm` is where the user belongs and what the ranking counts for; `served` is the arm whose scores were given out,
    and `fallback` says why when it is another one. `captioned` of `candidates` ranked had a caption. `items` and
    `scores` are the best of the ranking, in order, as many as the setting keeps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: EventId
    time: Seconds
    experiment: Word
    uid: Word
    revision: int = Field(ge=1)
    user: Pseudonym
    arm: Word
    served: Word
    fallback: Short | None = None
    model: Word
    bundle_id: Word
    contract_digest: Word
    candidates: int = Field(ge=1)
    captioned: int = Field(ge=0)
    seconds: float = Field(ge=0)
    degraded: tuple[Short, ...] = Field(default=(), max_length=32)
    items: tuple[ItemId, ...] = Field(default=(), max_length=MOST_ITEMS)
    scores: tuple[float, ...] = Field(default=(), max_length=MOST_ITEMS)


class Outcome(BaseModel):
    """What a user did, as it is sent to the collector: `user` is the user's own id, and is stored as a pseudonym."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: EventId
    time: Seconds
    user: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    event: EventName
    value: float = Field(1.0, allow_inf_nan=False, ge=-1e12, le=1e12)
    item: ItemId | None = None
