"""Who may name the arm that answers a call: whoever has the key, which comes by this process' environment alone."""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from serving.arguments import SettingsError
from serving.transformer.errors import ForbiddenError

KEY_VARIABLE = "SIGHTLINE_ARM_KEY"
LEAST_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class ArmNaming:
    """`header` is the header, or gRPC metadata key, that names an arm; empty: none does. Without a key nobody may."""

    header: str = ""
    key: bytes = field(default=b"", repr=False)

    def arm(self, value_of: Callable[[str], str | None]) -> str | None:
        """The arm that a call names, None for the user's own. Raises ForbiddenError without the right."""
        named = value_of(self.header) if self.header else None
        if not named:
            return None
        given, wanted = value_of(f"{self.header}-key") or "", f"header {self.header}-key"
        if self.key and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.key):
            return named
        why = f"{wanted} has another key" if given else f"{wanted} is missing"
        if not self.key:
            why = f"this server was started without {KEY_VARIABLE}, so nobody may"
        raise ForbiddenError(
            f"header {self.header} names an arm, which is for those with the right to: {why}. The key is "
            f"{KEY_VARIABLE} of the transformer (in the chart the key arm of the Secret …-collector-tokens); leave "
            f"{self.header} out to get the user's own arm"
        )


NOBODY = ArmNaming()


def read_naming(header: str, environment: Mapping[str, str]) -> ArmNaming:
    """From the settings' header and the environment's key. Raises SettingsError, which never shows the key."""
    key = environment.get(KEY_VARIABLE, "")
    if key and (len(key) < LEAST_CHARACTERS or not (key.isascii() and key.isprintable() and key == key.strip())):
        raise SettingsError(
            f"{KEY_VARIABLE}: has {len(key)} characters; expected at least {LEAST_CHARACTERS} of printable ASCII "
            "(openssl rand -hex 24 makes one), or no such variable: then nobody may name an arm"
        )
    return ArmNaming(header, key.encode())
