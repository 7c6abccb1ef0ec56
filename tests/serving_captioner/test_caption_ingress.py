from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_from_bytes

import httpx
import pytest
from PIL import Image

from serving.captioner.decoding import Decoder
from serving.captioner.fetch import Fetcher
from serving.captioner.gate import Gate
from serving.captioner.ingress import CaptionService, asgi
from serving.captioner.metrics import Meter
from serving.captioner.model import Answer, Batch, Captioned, Pixels
from serving.captioner.refusal import RequestRefused
from serving.captioner.settings import CaptionerSettings

PNG = {"Content-Type": "image/png"}
Good = dict[str, bytes]
Bad = dict[str, tuple[bytes, int, str]]


@dataclass
class FakeCaptions:
    calls: list[int] = field(default_factory=list)
    refusal: RequestRefused | None = None
    failing: bool = False
    seconds: float = 0.0
    up: int = 1
    crash: bool = False

    async def caption(self, images: Sequence[Pixels]) -> Answer:
        self.calls.append(len(images))
        await asyncio.sleep(self.seconds)
        if self.refusal is not None:
            raise self.refusal
        if self.crash:
            raise RuntimeError("a fault of ours")
        results = [
            Captioned("", "", "the captioner failed")
            if self.failing
            else Captioned(f"{image.shape[1]}x{image.shape[0]}", "stop")
            for image in images
        ]
        return Answer(tuple(results), "fake@1", "what?", (Batch(len(images), 0.5),))

    async def replicas(self) -> int:
        return self.up


def service(captions: FakeCaptions, purpose: str = "", **changes: Any) -> CaptionService:
    settings = CaptionerSettings(**changes)
    return CaptionService(
        captions,
        Meter("r1"),
        Decoder(settings.limits(), 2),
        Fetcher(frozenset(settings.url_hosts), settings.url_allow_private, settings.max_image_bytes, 5.0),
        Gate(settings.max_requests, settings.max_held_bytes, settings.max_held_images, settings.retry_after_s),
        max_request_bytes=settings.max_request_bytes,
        max_images=settings.max_images,
        call_images=settings.max_batch_size,
        body_timeout_s=settings.body_timeout_s,
        request_timeout_s=settings.request_timeout_s,
        retry_after_s=settings.retry_after_s,
        purpose=purpose,
    )


@asynccontextmanager
async def client(captions: FakeCaptions | None = None, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(asgi(service(captions or FakeCaptions(), **changes)))
    async with httpx.AsyncClient(transport=transport, base_url="http://captioner") as http:
        yield http


def as_json(*images: bytes, **extra: object) -> dict[str, Any]:
    return {"images": [{"data": base64.b64encode(image).decode()} | extra for image in images]}


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    error = response.json()["error"]
    assert set(error) == {"code", "field", "message"}
    assert len(error["message"]) > 10
    return response.status_code, error["code"], error["field"]


async def test_one_image_as_the_body(good_pictures: Good) -> None:
    async with client() as http:
        response = await http.post("/v1/captions", content=good_pictures["png"], headers=PNG)
    assert response.status_code == 200
    assert response.json() == {
        "captions": [{"id": "0", "caption": "40x30", "finish": "stop"}],
        "captioner": "fake@1",
        "prompt": "what?",
    }


async def test_the_content_type_names_no_decoder(good_pictures: Good) -> None:
    async with client() as http:
        response = await http.post(
            "/v1/captions", content=good_pictures["jpeg"], headers={"Content-Type": "image/svg+xml"}
        )
    assert response.json()["captions"][0]["caption"] == "40x30"


async def test_several_files_keep_their_names_and_order(good_pictures: Good) -> None:
    files = [("image", (f"{name}.bin", good_pictures[name])) for name in ("large", "png", "one pixel")]
    async with client() as http:
        response = await http.post("/v1/captions", files=files)
    assert [(entry["id"], entry["caption"]) for entry in response.json()["captions"]] == [
        ("large.bin", "672x448"),
        ("png.bin", "40x30"),
        ("one pixel.bin", "16x16"),
    ]


async def test_json_images_keep_their_ids_or_get_their_position(good_pictures: Good) -> None:
    body = as_json(good_pictures["png"], good_pictures["gif"])
    body["images"][1]["id"] = "film 242 ✓"
    async with client() as http:
        response = await http.post("/v1/captions", json=body)
    assert [entry["id"] for entry in response.json()["captions"]] == ["0", "film 242 ✓"]


async def test_every_bad_image_is_a_4xx_of_its_own(bad_pictures: Bad) -> None:
    async with client() as http:
        for name, (data, status, code) in bad_pictures.items():
            if not data:
                continue
            response = await http.post("/v1/captions", content=data, headers=PNG)
            assert error_of(response) == (status, code, "body"), name


async def test_refused_images_do_not_stop_the_others(good_pictures: Good, bad_pictures: Bad) -> None:
    captions = FakeCaptions()
    body = as_json(bad_pictures["thin"][0], good_pictures["png"], bad_pictures["text"][0])
    async with client(captions) as http:
        response = await http.post("/v1/captions", json=body)
    assert response.status_code == 200
    first, second, third = response.json()["captions"]
    assert (first["error"]["code"], first["error"]["field"]) == ("too_thin", "images[0].data")
    assert second["caption"] == "40x30"
    assert (third["id"], third["error"]["code"]) == ("2", "not_an_image")
    assert captions.calls == [1]


async def test_when_every_image_is_refused_the_status_is_the_firsts(bad_pictures: Bad) -> None:
    captions = FakeCaptions()
    async with client(captions) as http:
        response = await http.post("/v1/captions", json=as_json(bad_pictures["bomb"][0], bad_pictures["text"][0]))
    assert error_of(response) == (413, "too_many_pixels", "images[0].data")
    assert [entry["error"]["code"] for entry in response.json()["captions"]] == [
        "too_many_pixels",
        "not_an_image",
    ]
    assert captions.calls == []


async def test_a_moving_picture_says_what_was_captioned(good_pictures: Good) -> None:
    async with client() as http:
        response = await http.post("/v1/captions", content=good_pictures["animated gif"], headers=PNG)
    assert response.json()["captions"][0]["notes"] == ["animated: first frame only"]


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("text/plain", b"x", (415, "unsupported_content_type", "Content-Type")),
        ("", b"x", (415, "unsupported_content_type", "Content-Type")),
        ("image/png", b"", (400, "empty_body", "body")),
        ("application/json", b"{", (400, "malformed_request", "body")),
        ("application/json", b"\xff\xfe", (400, "malformed_request", "body")),
        ("application/json", b"[]", (400, "malformed_request", "body")),
        ("application/json", b"[" * 100_000, (400, "malformed_request", "body")),
        ("application/json", b"{}", (400, "malformed_request", "images")),
        ("application/json", b'{"images": []}', (400, "no_images", "images")),
        ("application/json", b'{"images": [{}]}', (400, "malformed_request", "images[0]")),
        ("application/json", b'{"images": [{"data": 5}]}', (400, "malformed_request", "images[0].data")),
        (
            "application/json",
            b'{"images": [{"data": "", "url": ""}]}',
            (400, "malformed_request", "images[0]"),
        ),
        (
            "application/json",
            b'{"images": [{"data": "", "idd": "1"}]}',
            (400, "malformed_request", "images[0].idd"),
        ),
        ("application/json", b'{"images": [], "prompt": "x"}', (400, "malformed_request", "prompt")),
        ("application/json", b'{"images": [{"data": "?!"}]}', (400, "bad_base64", "images[0].data")),
        ("application/json", b'{"images": [{"data": ""}]}', (422, "empty_image", "images[0].data")),
        (
            "application/json",
            b'{"images": [{"url": "https://a.example/1.png"}]}',
            (400, "urls_are_off", "images[0].url"),
        ),
        ("multipart/form-data", b"x", (400, "malformed_request", "body")),
        ("multipart/form-data; boundary=b", b"no boundary here", (400, "malformed_request", "body")),
        ("multipart/form-data; boundary=b", b"--b--\r\n", (400, "no_images", "images")),
    ],
)
async def test_a_malformed_request_names_its_field(
    content_type: str, body: bytes, expected: tuple[int, str, str]
) -> None:
    async with client() as http:
        response = await http.post("/v1/captions", content=body, headers={"Content-Type": content_type})
    assert error_of(response) == expected


async def test_a_form_field_that_is_no_file_named_image_is_refused(good_pictures: Good) -> None:
    async with client() as http:
        wrong_name = await http.post("/v1/captions", files={"picture": ("a", good_pictures["png"])})
        no_file = await http.post("/v1/captions", files={"x": ("a", b"")}, data={"image": "text"})
    assert error_of(wrong_name) == (400, "malformed_request", "picture")
    assert error_of(no_file) == (400, "malformed_request", "x")


def as_text(data: bytes) -> dict[str, str]:
    """An image as clients write it into text: every form of base64, and data URLs."""
    plain = base64.b64encode(data).decode()
    return {
        "base64": plain,
        "with line breaks": base64.encodebytes(data).decode().replace("\n", "\r\n"),
        "with blanks around": f" \n{plain}\t",
        "without padding": plain.rstrip("="),
        "for URLs": base64.urlsafe_b64encode(data).decode().rstrip("="),
        "data URL": f"data:image/png;base64,{plain}",
        "data URL in capitals, with a parameter": f"DATA:image/png;name=a.png;BASE64,{plain}",
        "data URL with escapes": "data:;base64," + plain.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        "data URL without base64": "data:image/png," + quote_from_bytes(data),
        "data URL with line breaks": "data:image/png;base64,\n" + base64.encodebytes(data).decode(),
    }


async def test_the_answer_says_what_the_captioner_is_for_where_that_is_known(good_pictures: Good) -> None:
    for purpose, told in (("drawn scenes only", {"purpose": "drawn scenes only"}), ("", {})):
        async with client(purpose=purpose) as http:
            answer = (await http.post("/v1/captions", content=good_pictures["png"], headers=PNG)).json()
        assert {name: answer[name] for name in answer if name != "captions"} == {
            "captioner": "fake@1",
            "prompt": "what?",
            **told,
        }


PLACES = [(form, place) for form in as_text(b"") for place in ("data", "url", "field")]


@pytest.mark.parametrize(("form", "place"), [pair for pair in PLACES if pair[0].startswith("data") or pair[1] != "url"])
async def test_an_image_as_text_is_taken_in_every_place_for_images(form: str, place: str, encode: Any) -> None:
    image = encode(Image.effect_noise((61, 37), 90))  # its base64 has padding, + and /
    text = as_text(image)[form]
    async with client() as http:
        if place == "field":
            response = await http.post("/v1/captions", data={"image": text}, files={"image": ("a.png", image)})
        else:
            response = await http.post("/v1/captions", json={"images": [{place: text}]})
    assert response.status_code == 200, response.text
    assert {caption["caption"] for caption in response.json()["captions"]} == {"61x37"}


@pytest.mark.parametrize(
    "text", ["", "A", "ABCDE", "=AAA", "AA===", "AA=A", "h\u00e4", "data:image/png;base64", "data:;base64,?"]
)
async def test_text_that_is_no_image_is_refused_in_its_place(text: str) -> None:
    async with client() as http:
        response = await http.post("/v1/captions", json={"images": [{"data": text}]})
    status, code, field = error_of(response)
    assert (code, field) in (("bad_base64", "images[0].data"), ("empty_image", "images[0].data"))
    assert status in (400, 422)


async def test_an_address_in_a_form_is_fetched_under_the_same_rules(good_pictures: Good) -> None:
    async with client() as http:
        response = await http.post(
            "/v1/captions", data={"image": "https://a.example/a.png"}, files={"image": ("b", b"")}
        )
    assert [caption["error"]["code"] for caption in response.json()["captions"]] == ["urls_are_off", "empty_image"]


async def test_a_url_has_a_limit_that_a_data_url_has_not() -> None:
    async with client() as http:
        response = await http.post("/v1/captions", json={"images": [{"url": "https://a.example/" + "a" * 9000}]})
    assert error_of(response) == (400, "malformed_request", "images[0]")


async def test_a_picture_that_was_not_taken_as_it_is_says_so_and_is_counted(encode: Any) -> None:
    broken = encode(Image.new("RGB", (40, 30)), "PNG", icc_profile=b"no profile")
    whole = encode(Image.effect_noise((64, 64), 90), "JPEG")
    async with client() as http:
        answers = [(await http.post("/v1/captions", content=data, headers=PNG)).json() for data in (broken, whole[:-2])]
        counted = (await http.get("/metrics")).text
    assert "colour profile ignored" in answers[0]["captions"][0]["notes"][0]
    assert "the end of the file is missing" in answers[1]["captions"][0]["notes"][0]
    for note in ("profile_ignored", "no_end"):
        assert f'sightline_captioner_notes_total{{note="{note}",replica="r1"}} 1.0' in counted


async def test_an_empty_file_in_a_form_is_a_refused_image() -> None:
    async with client() as http:
        response = await http.post("/v1/captions", files={"image": ("a.png", b"")})
    assert error_of(response) == (422, "empty_image", "image[0]")


async def test_too_many_images_are_refused_in_both_forms(good_pictures: Good) -> None:
    png = good_pictures["png"]
    async with client(max_images=2) as http:
        assert (await http.post("/v1/captions", json=as_json(png, png))).status_code == 200
        as_body = await http.post("/v1/captions", json=as_json(png, png, png))
        as_form = await http.post("/v1/captions", files=[("image", ("a", png))] * 3)
    assert error_of(as_body) == error_of(as_form) == (413, "too_many_images", "images")


async def test_a_body_above_the_limit_is_refused_whether_its_length_is_declared_or_not(
    good_pictures: Good,
) -> None:
    png = good_pictures["png"]

    async def chunked() -> AsyncIterator[bytes]:
        yield png
        yield b"\0"

    async with client(max_request_bytes=len(png)) as http:
        assert (await http.post("/v1/captions", content=png, headers=PNG)).status_code == 200
        declared = await http.post("/v1/captions", content=png + b"\0", headers=PNG)
        undeclared = await http.post("/v1/captions", content=chunked(), headers=PNG)
    assert error_of(declared) == error_of(undeclared) == (413, "request_too_large", "body")


async def test_a_body_that_does_not_arrive_is_answered_with_408() -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"abc"
        await asyncio.sleep(60)

    async with client(body_timeout_s=0.05) as http:
        response = await http.post("/v1/captions", content=stuck(), headers=PNG)
    assert error_of(response) == (408, "body_timeout", "body")


async def test_images_go_to_the_model_in_calls_of_one_batch(good_pictures: Good) -> None:
    captions = FakeCaptions()
    async with client(captions, max_batch_size=4) as http:
        response = await http.post("/v1/captions", json=as_json(*[good_pictures["png"]] * 10))
    assert captions.calls == [4, 4, 2]
    assert len(response.json()["captions"]) == 10


async def test_a_failing_captioner_is_a_typed_500(good_pictures: Good) -> None:
    async with client(FakeCaptions(failing=True)) as http:
        single = await http.post("/v1/captions", content=good_pictures["png"], headers=PNG)
        several = await http.post("/v1/captions", json=as_json(good_pictures["png"], good_pictures["gif"]))
    assert error_of(single) == (500, "captioner_failed", "body")
    assert error_of(several) == (500, "captioner_failed", "images[0].data")


async def test_a_fault_of_the_service_is_a_typed_500_too(good_pictures: Good) -> None:
    app = asgi(service(FakeCaptions(crash=True)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://captioner") as http:
        response = await http.post("/v1/captions", content=good_pictures["png"], headers=PNG)
    assert error_of(response) == (500, "internal_error", "request")


async def test_a_busy_model_is_503_with_retry_after(good_pictures: Good) -> None:
    refusal = RequestRefused("captioner_busy", 503, "request", "the queue is full, really", 7)
    async with client(FakeCaptions(refusal=refusal)) as http:
        response = await http.post("/v1/captions", content=good_pictures["png"], headers=PNG)
    assert error_of(response) == (503, "captioner_busy", "request")
    assert response.headers["Retry-After"] == "7"


@pytest.mark.parametrize("changes", [{"max_requests": 1}, {"max_images": 3, "max_held_images": 3}])
async def test_a_full_house_is_503_and_empties_again(good_pictures: Good, changes: dict[str, int]) -> None:
    captions = FakeCaptions(seconds=0.3)
    body = as_json(*[good_pictures["png"]] * 2)
    async with client(captions, **changes) as http:
        both = await asyncio.gather(*(http.post("/v1/captions", json=body) for _ in range(2)))
        health = await http.get("/health")
        again = await http.post("/v1/captions", json=body)
    assert sorted(response.status_code for response in both) == [200, 503]
    refused = next(response for response in both if response.status_code == 503)
    assert error_of(refused) == (503, "captioner_busy", "request")
    assert refused.headers["Retry-After"] == "1"
    assert (health.status_code, again.status_code) == (200, 200)


async def test_bytes_held_are_bounded(good_pictures: Good) -> None:
    png = good_pictures["png"]
    changes = {"max_held_bytes": len(png) + 10, "max_request_bytes": len(png) + 10}
    async with client(FakeCaptions(seconds=0.3), **changes) as http:
        post = [http.post("/v1/captions", content=png, headers=PNG) for _ in range(2)]
        statuses = sorted(response.status_code for response in await asyncio.gather(*post))
    assert statuses == [200, 503]


async def test_a_slow_model_is_504(good_pictures: Good) -> None:
    async with client(FakeCaptions(seconds=5), request_timeout_s=0.1) as http:
        response = await http.post("/v1/captions", content=good_pictures["png"], headers=PNG)
    assert error_of(response) == (504, "timeout", "request")


async def test_health_follows_the_replicas() -> None:
    captions = FakeCaptions()
    async with client(captions) as http:
        assert (await http.get("/health")).json() == {"status": "ok", "replicas": 1}
        captions.up = 0
        response = await http.get("/health")
    assert error_of(response) == (503, "captioner_unavailable", "service")


async def test_unknown_paths_and_methods_are_typed_errors() -> None:
    async with client() as http:
        assert error_of(await http.get("/v1/caption")) == (404, "not_found", "path")
        wrong = await http.get("/v1/captions")
    assert error_of(wrong) == (405, "method_not_allowed", "path")
    assert wrong.headers["Allow"] == "POST"


async def test_metrics_count_images_by_outcome_requests_and_batches(good_pictures: Good, bad_pictures: Bad) -> None:
    body = as_json(good_pictures["png"], good_pictures["gif"], bad_pictures["thin"][0])
    async with client() as http:
        await http.post("/v1/captions", json=body)
        await http.post("/v1/captions", content=b"x", headers={"Content-Type": "text/plain"})
        response = await http.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain")
    lines = response.text.splitlines()
    for line in (
        'sightline_captioner_images_total{code="ok",replica="r1"} 2.0',
        'sightline_captioner_images_total{code="too_thin",replica="r1"} 1.0',
        'sightline_captioner_requests_total{replica="r1",status="200"} 1.0',
        'sightline_captioner_requests_total{replica="r1",status="415"} 1.0',
        'sightline_captioner_batch_images_sum{replica="r1"} 2.0',
        'sightline_captioner_batch_seconds_sum{replica="r1"} 0.5',
        'sightline_captioner_decode_seconds_count{replica="r1"} 2.0',
        'sightline_captioner_requests_held{replica="r1"} 0.0',
    ):
        assert line in lines, line


async def test_answers_are_json_that_any_client_reads(good_pictures: Good) -> None:
    async with client() as http:
        response = await http.post("/v1/captions", content=good_pictures["png"], headers=PNG)
    assert response.headers["Content-Type"] == "application/json"
    json.loads(response.content)
