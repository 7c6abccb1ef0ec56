from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from serving.captioner.admission import Admitted, Limits, admit
from serving.captioner.refusal import ImageRefused
from serving.captioner.settings import CaptionerSettings

LIMITS = CaptionerSettings().limits()
RED = (200, 30, 40)
Good = dict[str, bytes]
Bad = dict[str, tuple[bytes, int, str]]
Encode = Callable[..., bytes]


def refusal(data: bytes, limits: Limits = LIMITS) -> ImageRefused:
    with pytest.raises(ImageRefused) as caught:
        admit(data, limits, "images[3].data")
    return caught.value


def near(colour: tuple[int, ...], expected: tuple[int, ...], tolerance: int = 3) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(colour, expected, strict=True))


def middle(admitted: Admitted) -> tuple[int, ...]:
    return admitted.image.getpixel((admitted.image.width // 2, admitted.image.height // 2))


def test_every_good_picture_becomes_rgb_within_the_limits(good_pictures: Good) -> None:
    assert len(good_pictures) == 24
    for name, data in good_pictures.items():
        image = admit(data, LIMITS).image
        assert image.mode == "RGB", name
        assert max(image.size) <= LIMITS.max_side, name
        assert min(image.size) >= LIMITS.min_side, name


def test_every_bad_picture_is_refused_with_its_code_status_and_field(bad_pictures: Bad) -> None:
    assert len(bad_pictures) == 21
    for name, (data, status, code) in bad_pictures.items():
        refused = refusal(data)
        assert (refused.status, refused.code, refused.field) == (status, code, "images[3].data"), name
        assert len(refused.message) > 20, name


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "gif", "bmp", "palette", "polyglot", "text chunk"])
def test_an_ordinary_picture_keeps_its_size_and_colour(good_pictures: Good, name: str) -> None:
    admitted = admit(good_pictures[name], LIMITS)
    assert admitted.image.size == (40, 30)
    assert near(middle(admitted), RED)
    assert admitted.notes == ()


@pytest.mark.parametrize("name", ["animated gif", "animated webp", "animated png"])
def test_a_moving_picture_gives_its_first_frame_and_says_so(good_pictures: Good, name: str) -> None:
    admitted = admit(good_pictures[name], LIMITS)
    assert near(middle(admitted), RED, 12)
    assert admitted.notes == ("animated: first frame only",)


def test_a_cmyk_picture_keeps_its_colour(good_pictures: Good) -> None:
    assert near(middle(admit(good_pictures["cmyk jpeg"], LIMITS)), RED, 8)


def test_sixteen_bit_grey_is_scaled_and_not_clipped(good_pictures: Good) -> None:
    assert middle(admit(good_pictures["16-bit grey"], LIMITS)) == (156, 156, 156)  # 40,000 / 256


def test_transparency_is_laid_on_white(good_pictures: Good) -> None:
    assert near(middle(admit(good_pictures["rgba"], LIMITS)), (227, 142, 147))
    image = admit(good_pictures["palette with transparency"], LIMITS).image
    assert image.getpixel((5, 15)) == RED
    assert image.getpixel((35, 15)) == (255, 255, 255)


def test_exif_orientation_is_applied(good_pictures: Good) -> None:
    image = admit(good_pictures["rotated by exif"], LIMITS).image
    assert image.size == (40, 20)
    assert near(image.getpixel((5, 10)), RED, 12)
    assert near(image.getpixel((35, 10)), (0, 0, 250), 12)


def test_an_admitted_picture_has_no_metadata_that_could_turn_it_again(good_pictures: Good) -> None:
    for name, data in good_pictures.items():
        image = admit(data, LIMITS).image
        assert (image.info, dict(image.getexif())) == ({}, {}), name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_agree_with_pillow(encode: Encode, orientation: int) -> None:
    from io import BytesIO

    from PIL import ImageOps

    values = np.random.default_rng(orientation).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(values), "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    assert np.array_equal(np.asarray(admit(data, LIMITS).image), np.asarray(expected))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow's, to stderr in production
def test_damaged_exif_does_not_cost_the_picture(encode: Encode) -> None:
    data = encode(Image.new("RGB", (40, 30), RED), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert admit(data, LIMITS).image.size == (40, 30)


def test_a_large_picture_is_reduced_to_the_longest_side_and_keeps_its_shape(good_pictures: Good) -> None:
    assert admit(good_pictures["large"], LIMITS).image.size == (672, 448)


@pytest.mark.parametrize(("name", "size"), [("one pixel", (16, 16)), ("one row", (320, 16)), ("three rows", (300, 18))])
def test_a_tiny_picture_is_enlarged_by_a_whole_factor(good_pictures: Good, name: str, size: tuple[int, int]) -> None:
    admitted = admit(good_pictures[name], LIMITS)
    assert admitted.image.size == size
    assert middle(admitted) == RED


def test_bytes_are_limited_before_anything_is_parsed(good_pictures: Good) -> None:
    data = good_pictures["png"]
    assert admit(data, replace(LIMITS, max_bytes=len(data))).image.size == (40, 30)
    refused = refusal(data, replace(LIMITS, max_bytes=len(data) - 1))
    assert (refused.code, refused.status) == ("image_too_large", 413)
    assert str(len(data)) in refused.message


def test_pixels_at_the_limit_are_admitted_and_one_row_more_is_not(good_pictures: Good) -> None:
    assert admit(good_pictures["png"], replace(LIMITS, max_pixels=40 * 30)).image.size == (40, 30)
    assert refusal(good_pictures["png"], replace(LIMITS, max_pixels=40 * 30 - 1)).code == "too_many_pixels"


def test_a_tiff_is_decoded_where_the_setting_admits_it(encode: Encode) -> None:
    limits = replace(LIMITS, formats=frozenset({"TIFF"}))
    assert admit(encode(Image.new("RGB", (40, 30), RED), "TIFF"), limits).image.size == (40, 30)
    assert admit(encode(Image.new("CMYK", (40, 30)), "TIFF"), limits).image.size == (40, 30)
    assert refusal(encode(Image.new("F", (40, 30)), "TIFF"), limits).code == "undecodable_image"


def test_a_picture_with_many_frames_of_different_sizes_is_bounded_by_its_header(encode: Encode) -> None:
    pictures = [Image.new("RGB", (40, 30), (index, 0, 0)) for index in range(200)]
    data = encode(pictures[0], "GIF", save_all=True, append_images=pictures[1:])
    assert admit(data, LIMITS).image.size == (40, 30)


@pytest.mark.parametrize("seed", range(6))
def test_random_damage_gives_a_picture_or_a_refusal_and_nothing_else(good_pictures: Good, seed: int) -> None:
    chance = random.Random(seed)
    limits = replace(LIMITS, formats=frozenset({"PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"}))
    outcomes = set()
    for data in good_pictures.values():
        if len(data) > 20_000:
            continue
        for _ in range(25):
            damaged = bytearray(data)
            for _ in range(chance.randint(1, 8)):
                damaged[chance.randrange(min(len(damaged), 400))] = chance.randrange(256)
            if chance.random() < 0.3:
                del damaged[chance.randrange(len(damaged)) :]
            outcomes.add(outcome(bytes(damaged), limits))
    assert "admitted" in outcomes
    assert "undecodable_image" in outcomes
    assert not [code for code in outcomes if code.startswith("status")]


def outcome(data: bytes, limits: Limits) -> str:
    try:
        admit(data, limits)
    except ImageRefused as refused:
        return refused.code if 400 <= refused.status < 500 else f"status {refused.status}"
    return "admitted"
