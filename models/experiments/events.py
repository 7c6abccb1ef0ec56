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

EventId = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Pseudonym = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
EventName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Seconds = Annotated[float, Field(gt=0, lt=1e11, allow_inf_nan=False)]


def pseudonym(key: bytes, user_id: str) -> str:
    """HMAC-SHA256 of the user's id, the first 16 bytes in hex."""
    return hmac.digest(key, user_id.encode(), "sha256")[:16].hex()


class Exposure(BaseModel):
    """A ranking that an enrolled user was given.

    `arm` is where the user belongs and what the ranking counts for; `served` is the arm whose scores were given out,
    and `fallback` says why when it is another one. `captioned` of `candidates` ranked had a caption. `items` and
    `scores` are the best of the ranking, in order, as many as the setting keeps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: EventId
    time: Seconds
    experiment: str
    uid: str
    revision: int = Field(ge=1)
    user: Pseudonym
    arm: str
    served: str
    fallback: str | None = None
    model: str
    bundle_id: str
    contract_digest: str
    candidates: int = Field(ge=1)
    captioned: int = Field(ge=0)
    seconds: float = Field(ge=0)
    degraded: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()


class Outcome(BaseModel):
    """What a user did, as it is sent to the collector: `user` is the user's own id, and is stored as a pseudonym."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: EventId
    time: Seconds
    user: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    event: EventName
    value: float = Field(1.0, allow_inf_nan=False, ge=-1e12, le=1e12)
    item: Annotated[str, StringConstraints(max_length=512)] | None = None
