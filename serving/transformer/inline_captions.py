"""Captions that a request brings, tokenized: long ones away from the event loop, one request after the other."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import numpy.typing as npt

from models.contract import CaptionTokenizer
from serving.transformer.errors import OverloadedError

AT_ONCE_CHARACTERS: Final = 4096
"""Up to here the loop does it itself: a thread costs more than the work."""
_THREAD: Final = ThreadPoolExecutor(1, thread_name_prefix="inline-captions")

Tokens = Sequence[npt.NDArray[np.int32]]


async def tokenized(tokenizer: CaptionTokenizer, texts: Sequence[str], seconds: float) -> Tokens:
    """Token ids of each text, int32 arrays. Raises `OverloadedError` where they are not ready within `seconds`.

    One thread does it for the whole process, so that requests full of text wait for each other and nobody for them.
    """
    if sum(map(len, texts)) <= AT_ONCE_CHARACTERS:
        return tokenizer.encode(texts)
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.get_running_loop().run_in_executor(_THREAD, tokenizer.encode, texts)
    except TimeoutError as cause:
        raise OverloadedError(
            f"the {len(texts)} inline captions were not tokenized within {seconds:g} s; send fewer or shorter ones, "
            "or store them with the items",
            retry_after=1.0,
        ) from cause
