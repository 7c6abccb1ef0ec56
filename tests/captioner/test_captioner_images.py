"""Any PIL picture becomes the RGB picture that an eye would see."""

import numpy as np
import pytest
from PIL import Image

from models.captioner.pixels import to_rgb


def test_transparency_lies_over_white() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert to_rgb(image, 100).getpixel((1, 1)) == (255, 255, 255)
    assert to_rgb(Image.new("LA", (4, 4), (0, 0)), 100).getpixel((1, 1)) == (255, 255, 255)


def test_a_transparent_palette_colour_lies_over_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putdata([0, 1])
    image.info["transparency"] = 0
    assert [to_rgb(image, 100).getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (200, 0, 0)]


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "I;16"]
)
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = to_rgb(Image.new(mode, (5, 3)), 100)
    assert (image.mode, image.size) == ("RGB", (5, 3))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = Image.fromarray(np.linspace(0, 65535, 256).astype(np.uint16)[None, :].repeat(64, axis=0))
    shades = np.asarray(to_rgb(ramp, 1000))[0, :, 0]
    assert shades[0] == 0
    assert shades[-1] == 255
    assert abs(int(shades[128]) - 128) <= 1
    wide = Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.int32))
    assert np.asarray(to_rgb(wide, 100))[0, :, 0].tolist() == [0, 128, 255]


def test_a_picture_is_turned_upright_by_its_exif() -> None:
    image = Image.new("RGB", (6, 2), "white")
    image.putpixel((0, 0), (0, 0, 0))
    exif = image.getexif()
    exif[0x0112] = 6
    image.info["exif"] = exif.tobytes()
    assert to_rgb(image, 100).size == (2, 6)


def test_a_large_picture_is_reduced_and_the_original_kept() -> None:
    image = Image.new("RGB", (400, 200))
    assert to_rgb(image, 100).size == (100, 50)
    assert image.size == (400, 200)


def test_a_strip_is_cut_about_its_centre() -> None:
    image = Image.new("RGB", (1000, 1), "black")
    image.putpixel((500, 0), (255, 255, 255))
    strip = to_rgb(image, 2048)
    assert strip.size == (4, 1)
    assert strip.getpixel((2, 0)) == (255, 255, 255)
