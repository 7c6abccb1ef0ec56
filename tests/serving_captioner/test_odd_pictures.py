"""Pictures as phones, cameras, scanners and editors write them, and as attackers do: all made here."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageCms

from models.captioner import pixels
from serving.captioner import jpeg, png
from serving.captioner.admission import ANIMATED, NO_END, PROFILE_IGNORED, admit, opened
from serving.captioner.refusal import ImageRefused
from serving.captioner.settings import CaptionerSettings

LIMITS = CaptionerSettings().limits()
RED = (200, 30, 40)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(size: tuple[int, int] = (160, 120), mode: str = "RGB") -> Image.Image:
    coarse = np.random.default_rng(3).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def seen(data: bytes) -> np.ndarray:
    return np.asarray(admit(data, LIMITS).image).astype(int)


def apart(one: bytes, other: bytes) -> float:
    """The mean difference of two files' pictures, in steps of 255."""
    return float(np.abs(seen(one) - seen(other)).mean())


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(data: bytes, extra: bytes, before: bytes = b"IDAT") -> bytes:
    at = data.index(before) - 4
    return data[:at] + extra + data[at:]


def swapped_profile() -> bytes:
    """sRGB's profile with the primaries of red and blue exchanged: what is blue in the file is red on the screen."""
    profile = bytearray(SRGB)
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


def film(scans: int = 200) -> bytes:
    """What a motion photo has behind its picture: an MP4's first box, and bytes that look like scans of a JPEG."""
    return b"\0\0\0\x18ftypmp42" + b"\0" * 12 + b"\0\0\x10\0mdat" + b"\xff\xda\0\x08" * scans + b"\xff\xd9\xff\xd8"


PHOTO = encoded(noise(), "JPEG", quality=92)
DRAWING = encoded(noise(), "PNG")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
@pytest.mark.parametrize("behind", [film(), b"\0" * 5000, b"PK\x03\x04 an archive", PHOTO])
def test_whatever_follows_a_picture_is_not_looked_at(kind: str, behind: bytes) -> None:
    data = encoded(noise(), kind)
    assert np.array_equal(seen(data), seen(data + behind))
    assert admit(data + behind, LIMITS).notes == ()


def test_a_motion_photo_with_its_film_is_the_photo() -> None:
    assert (PHOTO + film()).count(b"\xff\xda") > 100  # what was counted as scans of the picture
    found = jpeg.still(PHOTO + film())
    assert (found.scans, found.ended) == (1, True)
    assert found.data.endswith(jpeg.END)


def test_the_first_picture_of_several_is_taken() -> None:
    """MPF: a phone's gain map or a second lens, announced in a segment and standing behind the first picture."""
    data = encoded(noise(), "MPO", save_all=True, append_images=[Image.new("RGB", (80, 60), "white")])
    assert b"MPF\0" in data
    assert np.array_equal(seen(data), seen(encoded(noise(), "JPEG")))
    assert admit(data, LIMITS).notes == ()


def test_a_thumbnail_with_an_end_of_its_own_does_not_end_the_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    thumbnail = encoded(noise((32, 24)), "JPEG")
    body = exif.tobytes() + thumbnail
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    turned = seen(PHOTO[:2] + segment + PHOTO[2:])
    assert np.array_equal(turned, seen(PHOTO)[::-1, ::-1])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "restart_marker_blocks": 4}])
@pytest.mark.parametrize("lost", [b"\xff\xd9", b"\xd9"])
def test_a_jpeg_that_lacks_only_its_end_is_taken_and_says_so(options: dict[str, object], lost: bytes) -> None:
    data = encoded(noise((1600, 1200)), "JPEG", **options)
    short = data.removesuffix(lost)
    assert np.array_equal(seen(data), seen(short))
    assert admit(short, LIMITS).notes == (NO_END,)
    assert np.array_equal(seen(data), seen(short + b"\0" * 4096))  # a camera's unfinished block


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.97])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_part_of_its_picture_is_refused(share: float, progressive: bool) -> None:
    detailed = Image.fromarray(np.random.default_rng(1).integers(0, 256, (240, 320, 3), dtype=np.uint8))
    data = encoded(detailed, "JPEG", progressive=progressive, quality=90)
    with pytest.raises(ImageRefused, match="truncated") as refused:
        admit(data[: int(len(data) * share)], LIMITS)
    assert (refused.value.code, refused.value.status) == ("undecodable_image", 422)


def test_a_png_that_lacks_only_its_end_is_taken_and_one_that_lacks_rows_is_not() -> None:
    for lost in (12, 13, 16):  # IEND; and a byte, and all, of the checksum before it
        assert np.array_equal(seen(DRAWING[:-lost]), seen(DRAWING)), lost
    with pytest.raises(ImageRefused, match="undecodable_image"):
        admit(DRAWING[: len(DRAWING) // 2], LIMITS)


@pytest.mark.parametrize("size", [1_500_000, 80_000_000])
@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"tEXt"])
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_texts_of_any_length_are_left_out_unread(kind: bytes, size: int, before: bytes) -> None:
    packed = zlib.compress(b"\0" * size)
    bodies = {b"zTXt": b"Raw\0\0" + packed, b"iTXt": b"Raw\0\1\0\0\0" + packed, b"tEXt": b"Raw\0" + b"a" * (size // 10)}
    data = with_chunk(DRAWING, chunk(kind, bodies[kind]), before)
    assert png.still(data).data == DRAWING
    assert np.array_equal(seen(data), seen(DRAWING))


def test_a_long_colour_profile_is_used_and_one_without_end_is_ignored() -> None:
    long = SRGB + b"\0" * 3_000_000
    profile = bytearray(swapped_profile() + np.random.default_rng(1).bytes(2_000_000))
    profile[:4] = struct.pack(">I", len(profile))
    data = with_chunk(DRAWING, chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(profile))))
    assert np.abs(seen(data) - seen(DRAWING)[..., ::-1]).max() <= 2
    assert admit(data, LIMITS).notes == ()
    several = encoded(noise(), "JPEG", quality=92, icc_profile=bytes(profile))  # in 31 segments
    assert np.abs(seen(several) - seen(PHOTO)[..., ::-1]).max() <= 2
    bomb = with_chunk(DRAWING, chunk(b"iCCP", b"icc\0\0" + zlib.compress(long * 30)))
    assert np.array_equal(seen(bomb), seen(DRAWING))
    assert admit(bomb, LIMITS).notes == (PROFILE_IGNORED,)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_colour_profiles_are_converted_to_srgb(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    blue = Image.new("RGB", (64, 64), (0, 0, 255))
    middle = seen(encoded(blue, kind, icc_profile=swapped_profile(), **options))[30, 30]
    assert np.abs(middle - [255, 0, 0]).max() <= 3, middle


def test_profiles_of_grey_and_of_pictures_with_alpha_are_converted() -> None:
    clear = noise(mode="RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    mirrored = Image.merge("RGBA", [clear.getchannel(band) for band in "BGRA"])
    with_profile = encoded(mirrored, "PNG", icc_profile=swapped_profile())
    assert np.abs(seen(with_profile) - seen(encoded(clear, "PNG"))).max() <= 3
    grey = encoded(noise(mode="L"), "PNG", icc_profile=SRGB)  # editors leave sRGB's profile on a grey picture
    assert np.abs(seen(grey) - seen(encoded(noise(mode="L"), "PNG"))).max() <= 2
    assert admit(grey, LIMITS).notes == ()


@pytest.mark.parametrize("profile", [b"no profile", SRGB[:200], b"\0" * 4000])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_broken_profile_is_ignored_and_said(kind: str, profile: bytes) -> None:
    data = encoded(noise(), kind, icc_profile=profile)
    assert np.array_equal(seen(data), seen(encoded(noise(), kind)))
    assert admit(data, LIMITS).notes == (PROFILE_IGNORED,)


def test_a_profile_of_another_colour_space_is_ignored() -> None:
    data = encoded(noise(mode="CMYK"), "JPEG", icc_profile=SRGB, quality=95)
    assert apart(data, encoded(noise(mode="CMYK"), "JPEG", quality=95)) == 0
    assert admit(data, LIMITS).notes == (PROFILE_IGNORED,)


def test_adobes_inverted_cmyk_is_no_negative() -> None:
    data = encoded(Image.new("RGB", (64, 64), RED).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data
    assert np.abs(seen(data)[30, 30] - RED).max() <= 8
    big = encoded(noise((3000, 2000), "CMYK"), "JPEG", quality=95, progressive=True)
    assert np.abs(seen(big) - seen(encoded(noise((3000, 2000)), "JPEG", quality=95))).mean() < 6


MAKERS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "L": lambda image: image.convert("L"),
    "1": lambda image: image.convert("1"),
    "P": lambda image: image.convert("P", palette=Image.Palette.ADAPTIVE),
    "LA": lambda image: image.convert("LA"),
    "RGB": lambda image: image,
    "RGBA": lambda image: image.convert("RGBA"),
    "I;16": lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257),
}


@pytest.mark.parametrize("size", [(40, 30), (250, 200), (650, 500), (775, 375), (1001, 753)])
@pytest.mark.parametrize("mode", MAKERS)
def test_a_large_picture_is_what_reducing_the_whole_of_it_gives(
    mode: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bands of a large picture are reduced one by one; Pillow reduces the whole of it at once, after conversion."""
    monkeypatch.setattr(pixels, "_BAND_PIXELS", 20_000)
    image = MAKERS[mode](noise(size))
    grey = noise(size).convert("L")
    plain = {"I;16": grey, "1": image.convert("L")}.get(mode, image).convert("RGB")
    longest = min(168, max(size))
    wanted = plain.resize(
        tuple(round(side * longest / max(size)) for side in size), Image.Resampling.BICUBIC, reducing_gap=2.0
    )
    found = np.asarray(pixels.see(image, 168).image).astype(int)
    assert np.abs(found - np.asarray(wanted).astype(int)).max() <= 2


def test_colours_of_sixteen_bits_that_stand_for_transparency_are_white() -> None:
    values = np.full((60, 80), 20_000, np.uint16)
    values[:, 40:] = 33_333
    data = with_chunk(encoded(Image.fromarray(values), "PNG"), chunk(b"tRNS", struct.pack(">H", 33_333)))
    assert seen(data)[30, [10, 70], 0].tolist() == [20_000 >> 8, 255]
    header = struct.pack(">IIBBBBB", 64, 32, 16, 2, 0, 0, 0)
    row = b"\0" + struct.pack(">HHH", 65_535, 257, 0) * 32 + struct.pack(">HHH", 514, 1028, 65_535) * 32
    key = chunk(b"tRNS", struct.pack(">HHH", 65_535, 257, 0))
    parts = [chunk(b"IHDR", header), key, chunk(b"IDAT", zlib.compress(row * 32)), chunk(b"IEND", b"")]
    colours = seen(png.SIGNATURE + b"".join(parts))
    assert colours[16, 10].tolist() == [255, 255, 255]
    assert colours[16, 50].tolist() == [2, 4, 255]


def test_animations_give_their_first_frame_and_stills_no_note() -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in (RED, (0, 200, 0))]
    for kind in ("PNG", "GIF", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
        for each in (data, data + film()):
            assert admit(each, LIMITS).notes == (ANIMATED,), kind
            assert np.abs(seen(each)[30, 30] - RED).max() <= 12, kind
        assert admit(encoded(frames[0], kind), LIMITS).notes == ()


def test_damaged_exif_of_a_png_does_not_cost_the_picture() -> None:
    damaged = bytearray(chunk(b"eXIf", b"II*\0\xff\xff\xff\xff broken"))
    damaged[-1] ^= 1
    assert np.array_equal(seen(with_chunk(DRAWING, bytes(damaged))), seen(DRAWING))


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff" + b"\x01\xff" * 300_000,
        b"\xff\xd8" + b"\xff\xfe\x00\x02" * 200_000,
        png.SIGNATURE + chunk(b"IDAT", b"") * 150_000,
    ],
    ids=["standalone markers", "empty comments", "empty chunks"],
)
def test_a_file_of_nothing_but_segments_is_refused_after_some_of_them(data: bytes) -> None:
    with pytest.raises(ImageRefused, match="more than 100000") as refused:
        admit(data, LIMITS)
    assert refused.value.status == 422


def test_a_picture_that_takes_more_memory_than_there_is_is_refused_with_its_size() -> None:
    data = encoded(Image.new("L", (3000, 2000)), "PNG")
    with pytest.raises(ImageRefused, match="3000x2000") as refused:
        opened(data, replace(LIMITS, max_decode_bytes=5 << 20), "images[0].data")
    assert (refused.value.code, refused.value.status) == ("too_much_memory", 413)
    assert "max_decode_bytes" in refused.value.message


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_to_odd_pictures_gives_a_picture_or_a_refusal(seed: int) -> None:
    chance = np.random.default_rng(seed)
    files = [PHOTO + film(3), DRAWING, encoded(noise(), "JPEG", progressive=True, icc_profile=SRGB)]
    files += [
        encoded(noise(), "WEBP", icc_profile=SRGB) + film(2),
        encoded(noise(), "PNG", icc_profile=swapped_profile()),
    ]
    outcomes = set()
    for data in files:
        for _ in range(40):
            damaged = bytearray(data)
            for at in chance.integers(0, min(len(data), 3000), chance.integers(1, 9)):
                damaged[at] = chance.integers(256)
            if chance.random() < 0.4:
                del damaged[int(chance.integers(2, len(damaged))) :]
            try:
                outcomes.add(admit(bytes(damaged), LIMITS).image.mode)
            except ImageRefused as refused:
                outcomes.add(str(refused.status))
    assert outcomes <= {"RGB", "415", "422", "413"}
    assert {"RGB", "422"} <= outcomes
