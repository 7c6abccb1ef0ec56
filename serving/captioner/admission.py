"""From bytes of unknown origin to one RGB picture, or a typed refusal. Pure: no server, no model, no file.

The order is the defence: length, then signature (which alone picks the decoder), then the size that the
header declares, and only then pixels. Nothing here trusts a Content-Type or a file name.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from serving.captioner.refusal import ImageRefused

# What Pillow's decoders are seen to raise on hostile bytes. Named one by one, so that a fault of ours
# (a NameError, an AssertionError) is never reported to a caller as a fault of the picture.
_PILLOW_ERRORS = (
    OSError,  # includes UnidentifiedImageError and truncated data
    SyntaxError,
    ValueError,  # includes Pillow's limit on decompressed text and colour profiles
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,  # raised only where warnings are errors
)

_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBP", "WEBP"),
    (0, b"BM", "BMP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (4, b"ftyp", "AVIF or HEIC"),
    (0, b"8BPS", "PSD"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"%PDF", "PDF"),
)

_ORIENTATION = 0x0112
_MOVING = frozenset({"GIF", "WEBP", "PNG"})  # a JPEG with several pictures (MPO) does not move
# A progressive JPEG has about ten scans; each one makes the decoder visit every coefficient again, so
# thousands of them in a small file keep a core busy for minutes.
_MAX_JPEG_SCANS = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """What is admitted; see `CaptionerSettings` for the meaning and the reason of each number."""

    max_bytes: int
    max_pixels: int
    max_aspect_ratio: float
    max_side: int
    min_side: int
    formats: frozenset[str]


@dataclass(frozen=True, slots=True)
class Admitted:
    """A decoded picture: `image` is RGB, upright, at most `max_side` long; `notes` are for the caller."""

    image: Image.Image
    notes: tuple[str, ...] = ()


def admit(data: bytes, limits: Limits, field: str = "image") -> Admitted:
    """Decode one image of at most `limits.max_bytes` bytes into an upright RGB picture.

    A moving picture gives its first frame, transparency is laid on white, 16-bit grey is scaled to 8 bits,
    EXIF orientation is applied, metadata is dropped, a picture longer than `max_side` is reduced (aspect ratio
    kept) and one shorter than `min_side` is enlarged.

    Args:
        data: the encoded image.
        limits: what is admitted.
        field: the name of this image in the request, for messages.

    Raises:
        ImageRefused: 413 for bytes and pixels above the limit, 415 for what is not an image of an admitted
            format, 422 for an image that cannot be decoded or is too thin to be described.
    """
    if len(data) > limits.max_bytes:
        raise ImageRefused(
            "image_too_large",
            413,
            field,
            f"the image has {len(data)} bytes and at most {limits.max_bytes} are admitted: shrink it",
        )
    name = admitted_format(data, limits.formats, field)
    if name == "JPEG":
        _check_scans(data, field)
    image = _open(data, name, field)
    _check_size(image.size, limits, field)
    notes = ("animated: first frame only",) if name in _MOVING and _is_animated(image) else ()
    try:
        return Admitted(_prepare(image, limits), notes)
    except _PILLOW_ERRORS as error:
        raise _undecodable(name, field, error) from error


def admitted_format(data: bytes, formats: frozenset[str], field: str) -> str:
    """The format that the first bytes declare, if it is one of `formats`.

    Raises:
        ImageRefused: 422 for no bytes at all, 415 for another format or no image.
    """
    admitted = ", ".join(sorted(formats))
    if not data:
        raise ImageRefused("empty_image", 422, field, f"the image has no bytes: send one of {admitted}")
    name = next((name for at, magic, name in _SIGNATURES if data[at : at + len(magic)] == magic), None)
    if name == "WEBP" and data[:4] != b"RIFF":
        name = None
    if name is None:
        raise ImageRefused(
            "not_an_image",
            415,
            field,
            f"the {len(data)} bytes begin like no known image format: send one of {admitted}",
        )
    if name not in formats:
        raise ImageRefused(
            "unsupported_format",
            415,
            field,
            f"{name} is not admitted here: convert the file to one of {admitted}",
        )
    return name


def _check_scans(data: bytes, field: str) -> None:
    # 0xFF inside entropy-coded data is always followed by a stuffed zero, so this counts markers only.
    scans = data.count(b"\xff\xda")
    if scans > _MAX_JPEG_SCANS:
        raise ImageRefused(
            "too_many_scans",
            422,
            field,
            f"this JPEG has {scans} scans and at most {_MAX_JPEG_SCANS} are decoded: save it as baseline",
        )


def _open(data: bytes, name: str, field: str) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=(name,))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageRefused(
            "too_many_pixels",
            413,
            field,
            f"the {name} declares too many pixels: send a smaller picture ({error})",
        ) from error
    except _PILLOW_ERRORS as error:
        raise _undecodable(name, field, error) from error


def _undecodable(name: str, field: str, error: BaseException) -> ImageRefused:
    return ImageRefused(
        "undecodable_image",
        422,
        field,
        f"the bytes begin like {name} but cannot be decoded, send the whole, undamaged file ({error})",
    )


def _check_size(size: tuple[int, int], limits: Limits, field: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageRefused(
            "undecodable_image",
            422,
            field,
            f"the header declares {width}x{height} pixels: send a picture with pixels",
        )
    if width * height > limits.max_pixels:
        raise ImageRefused(
            "too_many_pixels",
            413,
            field,
            f"the header declares {width}x{height} = {width * height} pixels and at most {limits.max_pixels} "
            "are decoded: send a smaller picture",
        )
    if max(width, height) > limits.max_aspect_ratio * min(width, height):
        raise ImageRefused(
            "too_thin",
            422,
            field,
            f"the picture is {width}x{height}, thinner than {limits.max_aspect_ratio:g} to 1: crop it, "
            "the captioner would see its middle square only",
        )


def _is_animated(image: Image.Image) -> bool:
    # Only whether a second frame exists: counting frames would walk the whole file.
    try:
        return bool(getattr(image, "is_animated", False))
    except _PILLOW_ERRORS:
        return False  # damage behind the first frame does not matter to the first frame
    finally:
        _rewind(image)


def _rewind(image: Image.Image) -> None:
    if image.tell() != 0:
        image.seek(0)


def _prepare(image: Image.Image, limits: Limits) -> Image.Image:
    image.draft(None, (limits.max_side, limits.max_side))  # JPEG: decode at a fraction of the size, much less memory
    image.load()
    orientation = _orientation(image)
    upright = _TRANSPOSE.get(orientation)
    picture = _to_rgb(_reduced(_eight_bits(image), limits.max_side))
    if upright is not None:
        picture = picture.transpose(upright)
    return _bare(_enlarged(picture, limits.min_side))


def _bare(image: Image.Image) -> Image.Image:
    # Without the file's metadata: whoever applies its EXIF orientation again would turn the picture twice.
    bare = Image.new("RGB", image.size)
    bare.paste(image)
    return bare


_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> int:
    # Damaged EXIF must not cost a good picture: it then counts as upright, like a picture without EXIF.
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _PILLOW_ERRORS:
        return 1
    return value if isinstance(value, int) else 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey to 8-bit grey by scaling (Pillow's own conversion would clip); palettes to colours."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode == "I":
        return Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; convert the file to 8 bits per channel")
    if image.mode in ("1", "P", "PA") or "transparency" in image.info:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image


def _reduced(image: Image.Image, max_side: int) -> Image.Image:
    if max(image.size) <= max_side:
        return image
    scale = max_side / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "La", "RGBa"):
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, colours).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _enlarged(image: Image.Image, min_side: int) -> Image.Image:
    shortest = min(image.size)
    if shortest >= min_side:
        return image
    factor = math.ceil(min_side / shortest)
    return ImageOps.scale(image, factor, Image.Resampling.NEAREST)
