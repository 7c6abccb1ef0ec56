"""From bytes of unknown origin to one RGB picture, or a typed refusal. Pure: no server, no model, no file.

The order is the defence: length, then signature (which alone picks the decoder), then the still picture in the file
(films, texts and further pictures are left out), then the size that its header declares and the memory that decoding
takes, and only then pixels. Nothing here trusts a Content-Type or a file name.
"""

from __future__ import annotations

import hashlib
import math
import random
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageOps

from models.captioner import pixels
from serving.captioner import jpeg, png
from serving.captioner.decode_cost import decode_bytes
from serving.captioner.refusal import ImageRefused

# What Pillow's decoders are seen to raise on hostile bytes. Named one by one, so that a fault of ours
# (a NameError, an AssertionError) is never reported to a caller as a fault of the picture.
_PILLOW_ERRORS = (
    OSError,  # includes UnidentifiedImageError and truncated data
    SyntaxError,
    ValueError,
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
    (0, png.SIGNATURE, "PNG"),
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

# A progressive JPEG has about ten scans; each one makes the decoder visit every coefficient again, so
# thousands of them in a small file keep a core busy for minutes.
_MAX_JPEG_SCANS = 100
# What a decoder would read on if a JPEG's data were cut off: any bytes do that are no marker.
_NOISE = bytes(random.Random(0).choices(range(255), k=256))

ANIMATED = "animated: first frame only"
NO_END = "the end of the file is missing: all that shows was there"
PROFILE_IGNORED = "colour profile ignored: it is damaged or of another colour space"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is admitted; see `CaptionerSettings` for the meaning and the reason of each number."""

    max_bytes: int
    max_pixels: int
    max_decode_bytes: int
    max_aspect_ratio: float
    max_side: int
    min_side: int
    formats: frozenset[str]


@dataclass(frozen=True, slots=True)
class Admitted:
    """A decoded picture: `image` is RGB, upright, at most `max_side` long; `notes` are for the caller."""

    image: Image.Image
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """An image whose header was read and found admissible, and nothing else.

    Attributes:
        data: the still picture alone.
        image: opened, not decoded.
        notes: for the caller.
        ended: False for a JPEG without an end: whether only that is missing shows in decoding.
        cost: bytes that decoding takes at most.
    """

    data: bytes
    name: str
    image: Image.Image
    notes: tuple[str, ...]
    ended: bool
    cost: int


def admit(data: bytes, limits: Limits, field: str = "image") -> Admitted:
    """`decode` what `opened` admits."""
    return decode(opened(data, limits, field), limits, field)


def opened(data: bytes, limits: Limits, field: str = "image") -> Opened:
    """Read the header of one image of at most `limits.max_bytes` bytes.

    Args:
        data: the encoded image; what follows the picture in it (a phone's film, an archive) is ignored.
        limits: what is admitted.
        field: the name of this image in the request, for messages.

    Raises:
        ImageRefused: 413 for bytes, pixels and memory above the limit, 415 for what is not an image of an admitted
            format, 422 for an image that cannot be read or is too thin to be described.
    """
    if len(data) > limits.max_bytes:
        raise ImageRefused(
            "image_too_large",
            413,
            field,
            f"the image has {len(data)} bytes and at most {limits.max_bytes} are admitted: shrink it",
        )
    name = admitted_format(data, limits.formats, field)
    try:
        found = _still(data, name, limits, field)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageRefused(
            "too_many_pixels",
            413,
            field,
            f"the {name} declares too many pixels: send a smaller picture ({error})",
        ) from error
    except _PILLOW_ERRORS as error:
        raise _undecodable(name, field, error) from error
    if found.cost > limits.max_decode_bytes:
        width, height = found.image.size
        raise ImageRefused(
            "too_much_memory",
            413,
            field,
            f"this {name} of {width}x{height} pixels takes up to {found.cost >> 20} MiB to decode and at most "
            f"{limits.max_decode_bytes >> 20} are used (max_decode_bytes): send it smaller, or as a baseline JPEG",
        )
    return found


def decode(found: Opened, limits: Limits, field: str = "image") -> Admitted:
    """The picture in RGB, as `models.captioner.pixels.see` makes it; a picture shorter than `min_side` is enlarged.

    A moving picture gives its first frame.

    Raises:
        ImageRefused: 422 for an image that cannot be decoded.
    """
    try:
        if not found.ended:
            _check_whole(found, limits)
        seen = pixels.see(_drafted(found.image, limits), limits.max_side)
        notes = found.notes + ((PROFILE_IGNORED,) if seen.profile_ignored else ())
        return Admitted(_enlarged(seen.image, limits.min_side), notes)
    except _PILLOW_ERRORS as error:
        raise _undecodable(found.name, field, error) from error


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


def _still(data: bytes, name: str, limits: Limits, field: str) -> Opened:
    """The still picture in `data`, its header read and checked."""
    coefficients, ended, profile, moving = 0, True, None, False
    size = len(data)
    match name:
        case "JPEG":
            photo = jpeg.still(data)
            _check_scans(photo.scans, field)
            data, coefficients, ended = photo.data, photo.coefficient_bytes, photo.ended
            data = data if ended else data.rstrip(b"\xff") + jpeg.END
        case "PNG":
            drawing = png.still(data)
            data, profile, moving = drawing.data, drawing.profile, drawing.animated
        case "WEBP":
            data = data[: 8 + int.from_bytes(data[4:8], "little")]
    image = Image.open(BytesIO(data), formats=(name,))
    _check_size(image.size, limits, field)
    if profile is not None:  # Pillow unpacks no profile above 1 MB
        image.info["icc_profile"] = profile
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; convert the file to 8 bits per channel")
    notes = (ANIMATED,) if moving or (name in ("GIF", "WEBP") and _is_animated(image)) else ()
    cost = decode_bytes(name, image, limits.max_side, coefficients, len(data) if len(data) != size else 0)
    return Opened(data, name, image, notes if ended else (*notes, NO_END), ended, cost)


def _check_scans(scans: int, field: str) -> None:
    if scans > _MAX_JPEG_SCANS:
        raise ImageRefused(
            "too_many_scans",
            422,
            field,
            f"this JPEG has {scans} scans and at most {_MAX_JPEG_SCANS} are decoded: save it as baseline",
        )


def _check_whole(found: Opened, limits: Limits) -> None:
    """Raise OSError if a JPEG without an end lacks more than that.

    A decoder fills what is missing with grey and says nothing. So the data is continued by noise, too: only where the
    noise changes nothing that the captioner could see, nothing was missing.
    """
    noisy = found.data.removesuffix(jpeg.END) + _NOISE + jpeg.END
    shown = [
        hashlib.blake2b(_drafted(Image.open(BytesIO(data), formats=("JPEG",)), limits).tobytes()).digest()
        for data in (found.data, noisy)
    ]
    if shown[0] != shown[1]:
        raise OSError("image file is truncated")


def _drafted(image: Image.Image, limits: Limits) -> Image.Image:
    image.draft(None, (limits.max_side, limits.max_side))  # JPEG: decode at a fraction of the size, much less memory
    return image


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


def _enlarged(image: Image.Image, min_side: int) -> Image.Image:
    shortest = min(image.size)
    if shortest >= min_side:
        return image
    factor = math.ceil(min_side / shortest)
    return ImageOps.scale(image, factor, Image.Resampling.NEAREST)
