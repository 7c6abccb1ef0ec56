"""Who may do what: each right has tokens of its own, and no token has two rights."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from starlette.requests import Request

from serving.arguments import SettingsError
from serving.rollout.collector.faults import RequestError

PREFIX, SUFFIX = "SIGHTLINE_COLLECTOR_", "_TOKEN"
FORMER_VARIABLE = "SIGHTLINE_COLLECTOR_TOKEN"
"""One token for everything, as earlier releases had it."""
LEAST_CHARACTERS = 16
_MOST_NAME = 64


class Right(StrEnum):
    """What a token allows."""

    OUTCOMES = "outcomes"
    EXPOSURES = "exposures"
    EVIDENCE = "evidence"
    FORGET = "forget"

    @property
    def variable(self) -> str:
        """The environment variable with its tokens."""
        return f"{PREFIX}{self.name}{SUFFIX}"


HOLDERS = {
    Right.OUTCOMES: "whoever sees what users do",
    Right.EXPOSURES: "the transformers",
    Right.EVIDENCE: "the controller",
    Right.FORGET: "the person who deletes users' data",
}
VARIABLES = frozenset(right.variable for right in Right)


@dataclass(frozen=True, slots=True)
class Token:
    """A secret, the right that it gives, and the name of who has it."""

    right: Right
    sender: str
    secret: bytes


class Rights:
    """The tokens that are known."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tuple(tokens)

    def sender(self, request: Request, right: Right) -> str:
        """Who calls, by the token's name. Raises RequestError: 401 without a known token, 403 without the right."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        found = self._known(given.strip().encode()) if scheme.lower() == "bearer" else None
        wanted = f"{request.method} {request.url.path} needs a token with the right {right.value!r}"
        if found is None:
            what = "is no token of this collector" if given else "is missing"
            raise RequestError(
                401, "Authorization", f"{what}; {wanted}, as Authorization: Bearer TOKEN: {self._at(right)}"
            )
        if found.right is not right:
            raise RequestError(
                403, "Authorization", f"has the right {found.right.value!r}; {wanted}: {self._at(right)}"
            )
        return found.sender

    def _known(self, given: bytes) -> Token | None:
        """Compared with each in full, so that the time tells nothing."""
        equal = [each for each in self._tokens if hmac.compare_digest(each.secret, given)]
        return equal[0] if equal else None

    def _at(self, right: Right) -> str:
        held = f"that of {HOLDERS[right]}, {right.variable} of the collector"
        where = f"key {right.value!r} of the Secret …-collector-tokens where the chart made it"
        if any(each.right is right for each in self._tokens):
            return f"{held} ({where})"
        return f"none is set, so nobody has the right; start the collector with {right.variable} ({where})"


def read_rights(environment: Mapping[str, str]) -> Rights:
    """The tokens of all rights; a right without one is nobody's.

    A variable has one token, or lines of a sender's name, a space and its token.

    Raises:
        SettingsError: none at all, a weak or a repeated one, or the former variable. The message never has a token.
    """
    if FORMER_VARIABLE in environment:
        raise SettingsError(
            f"{FORMER_VARIABLE}: one token gave every right; set one for each right instead, each of its own: "
            f"{', '.join(f'{right.variable} ({HOLDERS[right]})' for right in Right)}. Whoever sends keeps the name "
            f"{FORMER_VARIABLE}, with the token of its right"
        )
    tokens = [token for right in Right for token in _tokens(right, environment.get(right.variable, ""))]
    if not tokens:
        raise SettingsError(
            f"{Right.OUTCOMES.variable}: no token is set, so nobody could send or ask; set one for each right: "
            f"{', '.join(right.variable for right in Right)} (openssl rand -hex 24 makes one)"
        )
    for place, token in enumerate(tokens):
        for other in tokens[:place]:
            if token.secret == other.secret:
                raise SettingsError(
                    f"{token.right.variable}: {token.sender!r} has the token of {other.sender!r} in "
                    f"{other.right.variable}; expected one of its own: a token has one right and one sender"
                )
    return Rights(tokens)


def _tokens(right: Right, text: str) -> list[Token]:
    found: list[Token] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, secret = line.rpartition(" ")
        sender = name.strip() or right.value
        if len(sender) > _MOST_NAME or not sender.isprintable() or "@" in sender or " " in sender:
            raise SettingsError(
                f"{right.variable}: a sender's name has {len(sender)} characters; expected at most {_MOST_NAME} "
                "without space and @, before the token"
            )
        if len(secret) < LEAST_CHARACTERS or not (secret.isascii() and secret.isprintable()):
            raise SettingsError(
                f"{right.variable}: the token of {sender!r} has {len(secret)} characters; expected at least "
                f"{LEAST_CHARACTERS} of printable ASCII without spaces, or no such variable"
            )
        found.append(Token(right, sender, secret.encode()))
    return found
