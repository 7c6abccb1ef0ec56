"""What decoding takes: the estimate holds for every format, and a service's peak stays below what is documented."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.captioner import decoding
from serving.captioner.admission import Admitted, opened
from serving.captioner.decoding import SMALL_BYTES, DecodeMemory, Decoder
from serving.captioner.settings import CaptionerSettings

LIMITS = CaptionerSettings().limits()
MIB = 1 << 20
SLACK = 8 * MIB  # what an allocator keeps, and the interpreter takes meanwhile
SIZE = (2600, 2200)

MEASURE = """
import sys
from pathlib import Path
from dataclasses import replace
from serving.captioner.admission import admit, decode, opened
from serving.captioner.settings import CaptionerSettings

def now(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))

limits = replace(CaptionerSettings().limits(), formats=frozenset({"PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"}))
data = Path(sys.argv[1]).read_bytes()
admit(Path(sys.argv[2]).read_bytes(), limits)  # whatever is loaded once
before = now("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
found = opened(data, limits)
decode(found, limits)
print(found.cost, now("VmHWM") - before)
"""

SERVICE = """
import asyncio, sys
from pathlib import Path
from dataclasses import replace
from serving.captioner.admission import admit
from serving.captioner.decoding import Decoder
from serving.captioner.settings import CaptionerSettings

def now(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))

async def all_at_once(decoder, files):
    return await asyncio.gather(*(decoder.decode(file, "image") for file in files))

large, small = (Path(name).read_bytes() for name in sys.argv[1:3])
limits = replace(CaptionerSettings().limits(), max_decode_bytes=int(sys.argv[3]))
admit(small, limits)
before = now("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
answers = asyncio.run(all_at_once(Decoder(limits, 2), [large, small] * 6))
assert [answer.image.size for answer in answers] == [(672, 672), (64, 64)] * 6
print(now("VmHWM") - before)
"""


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(mode: str) -> Image.Image:
    colours = Image.new("RGB", SIZE, (200, 30, 40))
    colours.paste((10, 90, 200), (0, 0, 900, 1700))
    if mode == "I;16":
        return Image.fromarray(np.full((SIZE[1], SIZE[0]), 40_000, np.uint16))
    return colours.convert(mode)


FILES = {
    "png": lambda: encoded(picture("RGB"), "PNG"),
    "png with alpha": lambda: encoded(picture("RGBA"), "PNG"),
    "grey png": lambda: encoded(picture("L"), "PNG"),
    "grey png with alpha": lambda: encoded(picture("LA"), "PNG"),
    "png of 16 bits": lambda: encoded(picture("I;16"), "PNG"),
    "png of one bit": lambda: encoded(picture("1"), "PNG"),
    "palette png": lambda: encoded(picture("P"), "PNG"),
    "palette png with transparency": lambda: encoded(picture("P"), "PNG", transparency=0),
    "jpeg": lambda: encoded(picture("RGB"), "JPEG"),
    "jpeg without end": lambda: encoded(picture("RGB"), "JPEG")[:-2],
    "progressive jpeg": lambda: encoded(picture("RGB"), "JPEG", progressive=True),
    "progressive jpeg without subsampling": lambda: encoded(picture("RGB"), "JPEG", progressive=True, subsampling=0),
    "progressive cmyk jpeg": lambda: encoded(picture("CMYK"), "JPEG", progressive=True),
    "grey jpeg": lambda: encoded(picture("L"), "JPEG"),
    "webp": lambda: encoded(picture("RGB"), "WEBP", method=0),
    "webp with alpha": lambda: encoded(picture("RGBA"), "WEBP", lossless=True, quality=0, method=0),
    "gif": lambda: encoded(picture("P"), "GIF"),
    "animated gif": lambda: encoded(
        picture("P"), "GIF", save_all=True, append_images=[Image.new("P", SIZE, 3)], transparency=3
    ),
    "bmp": lambda: encoded(picture("RGB"), "BMP"),
    "tiff": lambda: encoded(picture("RGB"), "TIFF", compression="tiff_lzw"),
    "cmyk tiff": lambda: encoded(picture("CMYK"), "TIFF", compression="tiff_lzw"),
}


def measured(script: str, *arguments: str) -> list[int]:
    environ = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("small") / "small.png"
    path.write_bytes(encoded(Image.new("RGB", (64, 64)), "PNG"))
    return str(path)


@pytest.mark.parametrize("name", FILES)
def test_decoding_takes_no_more_than_the_header_let_expect(name: str, tmp_path: Path, small_file: str) -> None:
    (tmp_path / "picture").write_bytes(FILES[name]())
    cost, peak = measured(MEASURE, str(tmp_path / "picture"), small_file)
    assert peak <= cost + SLACK
    assert cost <= 3 * peak + 2 * SLACK  # nor is a picture kept waiting for memory that it does not take


def test_six_pictures_of_49_megapixels_stay_within_the_memory_for_decoding(tmp_path: Path, small_file: str) -> None:
    large = encoded(Image.fromarray(np.full((7000, 7000), 40_000, np.uint16)), "PNG")
    (tmp_path / "large.png").write_bytes(large)
    cost = opened(large, LIMITS).cost
    budget = cost + 10 * MIB  # room for one at a time
    (peak,) = measured(SERVICE, str(tmp_path / "large.png"), small_file, str(budget))
    assert peak <= budget + 2 * SMALL_BYTES


async def test_a_small_picture_overtakes_large_ones_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    large = encoded(picture("RGB"), "PNG")
    small = encoded(Image.new("RGB", (64, 64)), "PNG")
    assert opened(small, LIMITS).cost <= SMALL_BYTES < opened(large, LIMITS).cost
    go, order = threading.Event(), []
    real = decoding.decode

    def slow(found: object, limits: object, field: str) -> Admitted:
        if field == "large":
            assert go.wait(60)
        order.append(field)
        return real(found, limits, field)  # type: ignore[arg-type]

    monkeypatch.setattr(decoding, "decode", slow)
    decoder = Decoder(LIMITS, 1)
    waiting = [asyncio.create_task(decoder.decode(large, "large")) for _ in range(6)]
    assert (await decoder.decode(small, "small")).image.size == (64, 64)
    assert not any(task.done() for task in waiting)
    go.set()
    assert {(await task).image.size for task in waiting} == {(672, 569)}
    assert order == ["small", *["large"] * 6]


async def test_large_pictures_run_beside_one_another_as_far_as_memory_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    large = encoded(picture("RGB"), "PNG")
    cost = opened(large, LIMITS).cost
    running, most, lock = 0, 0, threading.Lock()
    real = decoding.decode

    def counted(found: object, limits: object, field: str) -> Admitted:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.05)
        try:
            return real(found, limits, field)  # type: ignore[arg-type]
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(decoding, "decode", counted)
    decoder = Decoder(replace(LIMITS, max_decode_bytes=2 * cost), 4)
    await asyncio.gather(*(decoder.decode(large, "large") for _ in range(6)))
    assert most == 2


def test_who_asks_for_much_memory_is_not_passed_for_ever_by_those_who_ask_for_little() -> None:
    memory = DecodeMemory(10)
    taken: list[str] = []
    with memory.hold(6):
        threads = [threading.Thread(target=hold, args=(memory, 8, "much", taken))]
        threads[0].start()
        threading.Event().wait(0.1)
        threads.append(threading.Thread(target=hold, args=(memory, 3, "little", taken)))
        threads[1].start()
        threads[1].join(0.2)
        assert taken == []
    for thread in threads:
        thread.join(30)
    assert taken == ["much", "little"]


def hold(memory: DecodeMemory, amount: int, name: str, taken: list[str]) -> None:
    with memory.hold(amount):
        taken.append(name)
