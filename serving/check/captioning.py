"""Caption one picture through the captioning service."""

import os
from dataclasses import dataclass
from pathlib import Path

from serving.captioner.client import CaptionClient, CaptionerUnreachableError, CaptionResult
from serving.check.findings import CheckFailedError, Finding, finding
from serving.tls import TlsError, believed

NAME = "captioner"
SKIPPED = Finding(NAME, "skipped", "no --captioner was given")


@dataclass(frozen=True, slots=True)
class Captioning:
    """What the captioner made of the picture."""

    finding: Finding
    caption: CaptionResult | None = None


def caption(url: str, picture: Path, patience_s: float) -> Captioning:
    """Caption the file; the client itself tries again while the service is away or busy."""
    captions: list[CaptionResult] = []

    def look() -> str:
        captions.extend(_asked(url, picture, patience_s))
        (result,) = captions
        if result.error is not None:
            raise CheckFailedError(f"{url} refused {picture}: {result.error.code}: {result.error.message}", final=True)
        if not result.text:
            raise CheckFailedError(f"{url} wrote an empty caption for {picture} ({result.captioner})", final=True)
        return f"{picture.name}: {result.text!r} ({result.captioner})"

    found = finding(NAME, look)
    return Captioning(found, captions[0] if captions else None)


def _asked(url: str, picture: Path, patience_s: float) -> list[CaptionResult]:
    try:
        data = picture.read_bytes()
    except OSError as error:
        raise CheckFailedError(
            f"{picture}: cannot be read ({error.strerror}); give an image file", final=True
        ) from error
    try:
        client = CaptionClient(url, patience_s=patience_s, verify=believed(os.environ))
        return client.caption([(picture.name, data)])
    except (CaptionerUnreachableError, TlsError) as error:
        raise CheckFailedError(str(error), final=True) from error
