"""Pictures of every kind that a stranger may send, made here; nothing is read from a file."""

from __future__ import annotations

import io
import socket
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

Encode = Callable[..., bytes]
RED = (200, 30, 40)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def flat(size: tuple[int, int] = (40, 30), colour: tuple[int, int, int] = RED) -> Image.Image:
    return Image.new("RGB", size, colour)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def declared_png(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes whose header declares width x height."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + pixels + png_chunk(b"IEND", b"")


def rotated() -> bytes:
    """Left half red and right half blue, stored lying on its side, with the EXIF orientation that rights it."""
    upright = flat((40, 20))
    upright.paste((0, 0, 250), (20, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif)


def many_scans() -> bytes:
    """A progressive JPEG whose last scan is repeated a thousand times."""
    data = encoded(flat((64, 64)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 1000 + data[-2:]


def transparent_palette() -> bytes:
    image = Image.new("P", (40, 30), 0)
    image.putpalette([0, 0, 0, *RED])
    image.paste(1, (0, 0, 20, 30))
    return encoded(image, "PNG", transparency=bytes([0, 255]))


def frames(kind: str) -> bytes:
    pictures = [flat(colour=colour) for colour in (RED, (0, 200, 0), (0, 0, 200))]
    return encoded(pictures[0], kind, save_all=True, append_images=pictures[1:], duration=50)


def noise(size: tuple[int, int]) -> Image.Image:
    values = np.random.default_rng(7).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def good() -> dict[str, bytes]:
    grey16 = Image.fromarray(np.full((30, 40), 40_000, np.uint16))
    trailer = b"PK\x03\x04<script>alert(1)</script>"
    palette = PngImagePlugin.PngInfo()
    palette.add_text("Comment", "a small one")
    return {
        "png": encoded(flat()),
        "jpeg": encoded(flat(), "JPEG", quality=95),
        "webp": encoded(flat(), "WEBP", lossless=True),
        "gif": encoded(flat(), "GIF"),
        "bmp": encoded(flat(), "BMP"),
        "animated gif": frames("GIF"),
        "animated webp": frames("WEBP"),
        "animated png": frames("PNG"),
        "cmyk jpeg": encoded(flat().convert("CMYK"), "JPEG", quality=95),
        "16-bit grey": encoded(grey16),
        "grey": encoded(Image.new("L", (40, 30), 90)),
        "one bit": encoded(Image.new("1", (40, 30), 1)),
        "grey with alpha": encoded(Image.new("LA", (40, 30), (90, 128))),
        "rgba": encoded(Image.new("RGBA", (40, 30), (*RED, 128))),
        "palette": encoded(flat().convert("P", palette=Image.Palette.ADAPTIVE)),
        "palette with transparency": transparent_palette(),
        "one pixel": encoded(flat((1, 1))),
        "one row": encoded(flat((20, 1))),
        "three rows": encoded(flat((50, 3))),
        "rotated by exif": rotated(),
        "polyglot": encoded(flat(), "GIF") + trailer,
        "text chunk": encoded(flat(), pnginfo=palette),
        "progressive jpeg": encoded(flat(), "JPEG", progressive=True),
        "large": encoded(flat((3000, 2000)), "JPEG"),
    }


def bad() -> dict[str, tuple[bytes, int, str]]:
    """Name -> bytes, status, code."""
    whole = encoded(noise((64, 64)))
    jpeg = encoded(noise((64, 64)), "JPEG")
    return {
        "nothing": (b"", 422, "empty_image"),
        "text": (b"this is a text and no image", 415, "not_an_image"),
        "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "not_an_image"),
        "html": (b"<html><body>hello</body></html>", 415, "not_an_image"),
        "pdf": (b"%PDF-1.7\n", 415, "unsupported_format"),
        "tiff": (encoded(flat(), "TIFF"), 415, "unsupported_format"),
        "heic": (b"\0\0\0\x18ftypheic" + b"\0" * 100, 415, "unsupported_format"),
        "riff that is no webp": (b"RIFX\0\0\0\0WEBPVP8 ", 415, "not_an_image"),
        "signature only": (whole[:8], 422, "undecodable_image"),
        "half a png": (whole[: len(whole) // 2], 422, "undecodable_image"),
        "half a jpeg": (jpeg[: len(jpeg) // 2], 422, "undecodable_image"),
        "half a webp": (encoded(noise((64, 64)), "WEBP")[:200], 422, "undecodable_image"),
        "damaged png": (whole[:200] + b"\xff" * 50 + whole[250:], 422, "undecodable_image"),
        "words that begin like a bitmap": (b"BMW is a maker of cars", 422, "undecodable_image"),
        "bomb": (declared_png(50_000, 50_000), 413, "too_many_pixels"),
        "bomb below pillow's limit": (declared_png(8_000, 8_000), 413, "too_many_pixels"),
        "bomb above pillow's warning": (declared_png(12_000, 10_000), 413, "too_many_pixels"),
        "no width": (declared_png(0, 10), 422, "undecodable_image"),
        "thin": (encoded(flat((1, 10_000))), 422, "too_thin"),
        "flat": (encoded(flat((10_000, 1))), 422, "too_thin"),
        "a thousand scans": (many_scans(), 422, "too_many_scans"),
    }


@pytest.fixture(scope="session")
def good_pictures() -> dict[str, bytes]:
    return good()


@pytest.fixture(scope="session")
def bad_pictures() -> dict[str, tuple[bytes, int, str]]:
    return bad()


@pytest.fixture(scope="session")
def encode() -> Encode:
    """`encode(image, kind="PNG", **options)` -> bytes."""
    return encoded


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
