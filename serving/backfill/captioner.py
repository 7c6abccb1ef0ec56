"""The captioning service, waited for."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import replace

from PIL import Image

from serving.backfill.errors import BackfillError
from serving.captioner.client import CaptionClient, CaptionerUnreachableError

_PAUSE = 3.0
_SIDE = 64


async def wait_for_captioner(client: CaptionClient, seconds: float, say: Callable[[str], None]) -> tuple[str, str]:
    """Have a plain grey picture captioned, as soon as the service does that: return what captions, captioner and
    prompt. An answer of /health would say neither.

    Raises:
        CaptionerUnreachableError: it did not answer within `seconds`.
        BackfillError: it answers, and cannot even caption a grey picture.
    """
    probe = replace(client, patience_s=0)
    deadline = time.monotonic() + seconds
    told = False
    while True:
        try:
            (result,) = await probe.caption_async([("grey", _grey())])
            break
        except CaptionerUnreachableError as error:
            if time.monotonic() >= deadline:
                raise
            if not told:
                say(f"waiting up to {seconds:g} s for the captioner: {error}")
                told = True
            await client.sleep(min(_PAUSE, max(0.0, deadline - time.monotonic())))
    if result.error is not None:
        raise BackfillError(
            f"the captioner at {client.url} cannot caption a plain grey picture "
            f"({result.error.code}: {result.error.message}); see its log"
        )
    return result.captioner, result.prompt


def _grey() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (_SIDE, _SIDE), (128, 128, 128)).save(buffer, "PNG")
    return buffer.getvalue()
