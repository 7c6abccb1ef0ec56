"""Any PIL picture as the RGB picture that an eye would see."""

from PIL import Image, ImageOps

LONGEST_ASPECT = 4


def to_rgb(image: Image.Image, side_limit: int) -> Image.Image:
    """`image` as RGB: upright by its EXIF orientation, transparency over white, 16-bit and float scaled to 8 bits.

    A side longer than `side_limit` pixels is reduced. Strips are cut to 4:1 about their centre: the processor's centre
    crop keeps less than that, and its resize of a one-pixel-high strip would otherwise need gigabytes.
    """
    upright = ImageOps.exif_transpose(image)
    compact = _cut(upright)
    if max(compact.size) > side_limit:
        compact = compact.copy()
        compact.thumbnail((side_limit, side_limit))
    return _opaque(_eight_bit(compact))


def _cut(image: Image.Image) -> Image.Image:
    width, height = image.size
    longest = LONGEST_ASPECT * min(width, height)
    if max(width, height) <= longest:
        return image
    keep_x, keep_y = min(width, longest), min(height, longest)
    left, top = (width - keep_x) // 2, (height - keep_y) // 2
    return image.crop((left, top, left + keep_x, top + keep_y))


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow clips 16-bit greys to white where it converts them: scale them first. Floats are taken as 0 to 255."""
    if image.mode.startswith("I;16"):
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.mode == "I" and image.getextrema()[1] > 255:  # type: ignore[operator]
        return image.point(lambda value: value * (1 / 257)).convert("L")
    return image


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
