"""How many bytes decoding a picture takes at most, told from its header alone.

The factors are what Pillow 13 was measured to take, by `tests/serving_captioner/test_decode_memory.py`.
"""

from __future__ import annotations

from PIL import Image

from models.captioner.pixels import PLAIN, averaging

_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""By Pillow's mode; 4 for all others."""
_FORMAT_BYTES = {"WEBP": 16, "TIFF": 8, "GIF": 6}
"""Where the decoder holds more than the picture, a pixel: libwebp two canvases and a copy, GIF a frame beside it."""
_GREY = frozenset({"1", "F", "I", "I;16", "I;16B", "I;16L"})
_CONVERTED_BYTES = 12
"""A pixel of a picture that is not plain, between averaging and resampling: converted, with its alpha multiplied in."""
_RESULT_BYTES = 24
_BAND_BYTES = 16 << 20


def decode_bytes(name: str, image: Image.Image, max_side: int, coefficients: int, copied: int) -> int:
    """The most that decoding `image`, opened and not yet decoded, and reducing it to `max_side` takes.

    Args:
        name: the format.
        coefficients: bytes of coefficients that a JPEG's decoder keeps.
        copied: bytes of the file that were copied.
    """
    width, height = image.size
    if name == "JPEG":
        scale = _draft_scale(width, height, max_side)
        width, height = -(-width // scale), -(-height // scale)
    each = max(_PIXEL_BYTES.get(image.mode, 4), _FORMAT_BYTES.get(name, 0))
    pixels, factor = width * height, averaging((width, height), max_side)
    between = pixels // factor**2 * _between_bytes(image, factor)
    result = min(pixels, max_side**2) * _RESULT_BYTES
    return pixels * each + coefficients + copied + between + result + min(pixels * 16, _BAND_BYTES)


def _between_bytes(image: Image.Image, factor: int) -> int:
    opaque = "transparency" not in image.info
    if opaque and image.mode in PLAIN:
        return 4 if factor > 1 else 0
    return 2 if opaque and image.mode in _GREY else _CONVERTED_BYTES


def _draft_scale(width: int, height: int, max_side: int) -> int:
    """By what libjpeg divides the size, as `JpegImageFile.draft` chooses it."""
    fits = min(width // max_side, height // max_side)
    return next(scale for scale in (8, 4, 2, 1) if fits >= scale or scale == 1)
