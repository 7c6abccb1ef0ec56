"""Any PIL picture as the RGB picture that an eye would see: the one path of every picture.

Memory: beside the decoded picture itself only bands of it are copied, so that a picture of 50 million pixels is not
held three times.
"""

import io
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

LONGEST_ASPECT = 4
MAX_PROFILE_BYTES = 8 << 20
"""A longer ICC profile is ignored: those of printers, the longest in use, have 4 MB."""
PLAIN = frozenset({"L", "RGB", "CMYK"})
"""Modes that are averaged and resampled as they are."""
_BAND_PIXELS = 1 << 20
_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SPACES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}


@dataclass(frozen=True, slots=True)
class Seen:
    """`image` is RGB without metadata; `profile_ignored`: its ICC profile is damaged or of another colour space."""

    image: Image.Image
    profile_ignored: bool


def to_rgb(image: Image.Image, side_limit: int) -> Image.Image:
    """What `see` makes of `image`, strips first cut to 4:1 about their centre: the processor's centre crop keeps less
    than that, and its resize of a one-pixel-high strip would otherwise need gigabytes.
    """
    return see(_cut(image), side_limit).image


def see(image: Image.Image, side_limit: int) -> Seen:
    """`image` upright by its EXIF orientation, in sRGB by its ICC profile, transparency over white, 8 bits a channel
    (of 16 the upper ones; floats are taken as 0 to 255), a side longer than `side_limit` pixels reduced to it.

    Raises:
        OSError, ValueError and others of Pillow's: it cannot be decoded.
    """
    image.load()
    colours, ignored = _srgb(_reduced(image, side_limit), image.info.get("icc_profile"))
    picture = _on_white(colours)
    turn = _TRANSPOSE.get(_orientation(image))
    if turn is not None:
        picture = picture.transpose(turn)
    bare = Image.new("RGB", picture.size)  # whoever applied its EXIF orientation again would turn the picture twice
    bare.paste(picture)
    return Seen(bare, ignored)


def averaging(size: tuple[int, int], side_limit: int) -> int:
    """By which whole factor a picture is averaged before it is resampled; it is at least twice too long then."""
    return max(1, int(max(size) / side_limit / 2))


def _cut(image: Image.Image) -> Image.Image:
    width, height = image.size
    longest = LONGEST_ASPECT * min(width, height)
    if max(width, height) <= longest:
        return image
    keep_x, keep_y = min(width, longest), min(height, longest)
    left, top = (width - keep_x) // 2, (height - keep_y) // 2
    return image.crop((left, top, left + keep_x, top + keep_y))


def _reduced(image: Image.Image, side_limit: int) -> Image.Image:
    """L, LA, RGB, RGBA or CMYK, and at most `side_limit` long."""
    width, height = image.size
    longest, factor = max(width, height), averaging(image.size, side_limit)
    if image.mode == "I":
        image = _of_32_bits(image)
    small = _averaged(image, factor)
    if longest <= side_limit:
        return small
    size = (max(1, round(width * side_limit / longest)), max(1, round(height * side_limit / longest)))
    return small.resize(size, Image.Resampling.BICUBIC, box=(0, 0, width / factor, height / factor))


def _averaged(image: Image.Image, factor: int) -> Image.Image:
    """`image` with each square of `factor` pixels averaged, band after band."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width // factor) * factor
    if height <= rows or (factor == 1 and image.mode in PLAIN and not image.has_transparency_data):
        return _plain(image) if factor == 1 else _plain(image).reduce(factor)
    whole: Image.Image | None = None
    for top in range(0, height, rows):
        band = _plain(image.crop((0, top, width, min(top + rows, height)))).reduce(factor)
        if whole is None:
            whole = Image.new(band.mode, (band.width, -(-height // factor)))
        whole.paste(band, (0, top // factor))
    assert whole is not None, "an image has rows"
    return whole


def _plain(image: Image.Image) -> Image.Image:
    """8 bits a channel; palettes, and a colour that stands for transparency, resolved: L, LA, RGB, RGBA or CMYK."""
    if image.mode.startswith("I;16"):
        return _of_16_bits(image)
    if image.has_transparency_data:
        key = image.info.get("transparency")
        if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:  # of 16 bits, like the pixels once were
            image = image.copy()
            image.info["transparency"] = tuple(value >> 8 for value in key)
        return image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
    if image.mode in ("1", "F"):
        return image.convert("L")
    return image if image.mode in PLAIN else image.convert("RGB")


def _of_16_bits(image: Image.Image) -> Image.Image:
    """Pillow would clip 16-bit greys to white: keep the upper byte, as it does itself with 16-bit colours."""
    values = np.asarray(image).astype(np.uint16)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def _of_32_bits(image: Image.Image) -> Image.Image:
    """Integers are 16-bit greys in a wider type, unless all of them fit into 8 bits."""
    if image.getextrema()[1] <= 255:  # type: ignore[operator]
        return image.convert("L")
    return Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))


def _srgb(image: Image.Image, profile: object) -> tuple[Image.Image, bool]:
    """`image` in sRGB, as RGB or RGBA; and whether there is a profile that cannot be used."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image.convert({"LA": "L", "RGBA": "RGB"}.get(image.mode, image.mode))
    ignored = profile is not None
    if isinstance(profile, bytes) and 0 < len(profile) <= MAX_PROFILE_BYTES:
        converted = _converted(colours, profile)
        colours, ignored = (colours, True) if converted is None else (converted, False)
    colours = colours.convert("RGB")
    if alpha is not None:
        colours.putalpha(alpha)
    return colours, ignored


def _converted(image: Image.Image, profile: bytes) -> Image.Image | None:
    """By relative colorimetry with black point compensation, as picture viewers do; None where it cannot be done."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _SPACES.get(source.profile.xcolor_space.strip())
        if mode != image.mode and (mode, image.mode) != ("RGB", "L"):
            return None
        return ImageCms.profileToProfile(
            image.convert(mode),
            source,
            ImageCms.createProfile("sRGB"),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            "RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _orientation(image: Image.Image) -> int:
    """Damaged EXIF must not cost a good picture: it then counts as upright, like a picture without EXIF."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, struct.error):
        return 1
    return value if isinstance(value, int) else 1
