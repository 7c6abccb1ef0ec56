"""Which user sees which arm: written by the experiment's controller, watched by every transformer.

A user's bucket is a salted hash of the id, 0 to 9,999. Every arm has a lane of the buckets, as wide as every other, and
is given to the users at the lane's beginning, as many in each arm. So shares can only grow into users that were in no
arm before: nobody ever changes arms, and stable is always compared with as many users as the candidate has, over the
same days. All other users get stable too, and are no part of the experiment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import xxhash
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

STABLE = "stable"
BUCKETS = 10_000
"""A share is given in buckets: hundredths of a percent of all users."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class AssignmentError(ValueError):
    """An assignment document that cannot be used; the message names the field, its value and what was expected."""


class Arm(BaseModel):
    """A candidate: where its Triton is, and the bundle that its scores must come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    predictor_host: str = Field(min_length=1, description="host or host:port of its Triton, over gRPC")
    model: str = Field(min_length=1, description="the model's name in that Triton")
    bundle: str = Field(min_length=1, description="path or URI of the bundle, an entry of a model store for instance")
    bundle_id: Sha256
    contract_digest: Sha256

    @model_validator(mode="after")
    def _is_not_stable(self) -> Self:
        if self.name == STABLE:
            raise ValueError(f"an arm is named {STABLE!r}, which is the name of what serves already; choose another")
        return self


class Assignment(BaseModel):
    """One experiment on one model's users. A copy with a higher `revision` replaces it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: Name
    uid: str = Field(min_length=1, description="differs between two experiments of one name, one after the other")
    revision: int = Field(ge=1)
    model: str = Field(min_length=1, description="the served model whose users are divided")
    salt: str = Field(min_length=8)
    arms: tuple[Arm, ...] = Field(min_length=1, max_length=9, description="the candidates; stable is always there")
    share: int = Field(ge=0, description="buckets of each arm, stable's compared users included")
    shadow: int = Field(ge=0, description="buckets outside all arms that the first candidate scores unseen")
    everyone: str | None = Field(None, description="the arm that all users get while it replaces stable")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"arms are named {names}; expected every name once")
        if self.share > self.lane:
            raise ValueError(
                f"share is {self.share}; expected at most {self.lane}: {len(names) + 1} arms share all users"
            )
        if self.share * (len(names) + 1) + self.shadow > BUCKETS:
            raise ValueError(f"shadow is {self.shadow}; expected at most {BUCKETS - self.share * (len(names) + 1)}")
        if self.everyone not in (None, *names):
            raise ValueError(f"everyone is {self.everyone!r}; expected null or one of {names}")
        return self

    @property
    def lane(self) -> int:
        """Buckets of a lane: what an arm's share can grow to."""
        return BUCKETS // (len(self.arms) + 1)

    def place(self, user_id: str) -> Place:
        """Where the user belongs; the same for the same salt and shares, in every process."""
        if self.everyone is not None:
            return Place(self.everyone, enrolled=False, shadow=None)
        lane, offset = divmod(bucket(self.salt, user_id), self.lane)
        if lane <= len(self.arms) and offset < self.share:
            return Place(STABLE if lane == len(self.arms) else self.arms[lane].name, enrolled=True, shadow=None)
        shadowed = self._place_outside(lane, offset) < self.shadow
        return Place(STABLE, enrolled=False, shadow=self.arms[0].name if shadowed else None)

    def _place_outside(self, lane: int, offset: int) -> int:
        """The bucket's position among those of no arm, lane after lane."""
        left_over = lane > len(self.arms)  # buckets that do not divide by the arms are in no lane
        return lane * (self.lane - self.share) + offset - (0 if left_over else self.share)


@dataclass(frozen=True, slots=True)
class Place:
    """A user's arm; `enrolled` if it counts for the experiment; `shadow` names an arm that scores beside it, unseen."""

    arm: str
    enrolled: bool
    shadow: str | None


def bucket(salt: str, user_id: str) -> int:
    """xxh3-64 of salt, a zero byte and the id, modulo 10,000 (bias below 1e-15)."""
    return xxhash.xxh3_64_intdigest(salt.encode() + b"\0" + user_id.encode()) % BUCKETS


class AssignmentBook(BaseModel):
    """The document that transformers watch: at most one experiment per served model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    assignments: tuple[Assignment, ...] = ()

    @model_validator(mode="after")
    def _one_per_model(self) -> Self:
        models = [each.model for each in self.assignments]
        for model in models:
            if models.count(model) > 1:
                raise ValueError(f"model {model!r} has two experiments; end one of them")
        return self

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Read the document; empty text is an empty book. Raises AssignmentError."""
        if not text.strip():
            return cls()
        try:
            return cls.model_validate_json(text)
        except ValidationError as cause:
            faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}" for e in cause.errors())
            raise AssignmentError(f"the assignment cannot be used: {faults}") from cause

    def to_json(self) -> str:
        """The document, the same text for the same content."""
        return self.model_dump_json(indent=1)

    def of(self, model: str) -> Assignment | None:
        """The experiment on that model's users, if there is one."""
        return next((each for each in self.assignments if each.model == model), None)

    def put(self, assignment: Assignment) -> AssignmentBook:
        """The book with this experiment in place of the model's earlier one."""
        return self._with([*(each for each in self.assignments if each.model != assignment.model), assignment])

    def drop(self, uid: str) -> AssignmentBook:
        """The book without the experiment of that uid."""
        return self._with(each for each in self.assignments if each.uid != uid)

    def _with(self, assignments: Iterable[Assignment]) -> AssignmentBook:
        return AssignmentBook(assignments=tuple(sorted(assignments, key=lambda each: each.model)))
