from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest

from serving.captioner.client import CaptionClient, CaptionerUnreachableError

IMAGES = [(f"id{number}", f"bytes of {number}".encode()) for number in range(10)]


class Service:
    """Answers each image by its bytes; the script's answers come first."""

    def __init__(self, *script: httpx.Response | Exception, seconds: float = 0.0) -> None:
        self.script = list(script)
        self.groups: list[list[str]] = []
        self.seconds = seconds
        self.inside = self.most = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.script:
            answer = self.script.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        images = json.loads(request.content)["images"]
        self.groups.append([image["id"] for image in images])
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(self.seconds / len(self.groups))
        self.inside -= 1
        captions = [self.entry(image["id"], base64.b64decode(image["data"])) for image in images]
        return httpx.Response(200, json={"captions": captions, "captioner": "fake@1", "prompt": "p"})

    def entry(self, name: str, data: bytes) -> dict[str, Any]:
        if data == b"bad":
            error = {"code": "not_an_image", "field": "images[0].data", "message": "no"}
            return {"id": name, "error": error}
        return {"id": name, "caption": data.decode(), "finish": "stop"}


def client(service: Service, slept: list[float] | None = None, **options: Any) -> CaptionClient:
    async def sleep(seconds: float) -> None:
        if slept is not None:
            slept.append(seconds)

    return CaptionClient("http://c", transport=httpx.MockTransport(service), sleep=sleep, **options)


def busy(after: int | None = 2) -> httpx.Response:
    headers = {} if after is None else {"Retry-After": str(after)}
    return httpx.Response(503, json={"error": {"code": "captioner_busy"}}, headers=headers)


def test_results_keep_the_order_of_the_images_however_requests_finish() -> None:
    service = Service(seconds=0.2)
    results = client(service, images_per_request=3).caption(IMAGES)
    assert [(result.id, result.text) for result in results] == [(name, data.decode()) for name, data in IMAGES]
    assert sorted(map(len, service.groups)) == [1, 3, 3, 3]
    assert {(result.captioner, result.prompt, result.finish) for result in results} == {("fake@1", "p", "stop")}


def test_requests_in_flight_are_bounded() -> None:
    service = Service(seconds=0.1)
    client(service, images_per_request=1, concurrency=3).caption(IMAGES)
    assert service.most == 3


def test_a_group_is_bounded_by_bytes_and_a_large_image_goes_alone() -> None:
    service = Service()
    images = [("a", b"x" * 60), ("b", b"x" * 40), ("c", b"x" * 30), ("d", b"x" * 500), ("e", b"x")]
    client(service, bytes_per_request=100, concurrency=1).caption(images)
    assert service.groups == [["a", "b"], ["c"], ["d"], ["e"]]


def test_no_images_are_no_request() -> None:
    service = Service()
    assert client(service).caption([]) == []
    assert service.groups == []


def test_a_refused_image_is_returned_and_not_raised() -> None:
    good, bad = client(Service()).caption([("a", b"fine"), ("b", b"bad")])
    assert good.text == "fine"
    assert good.error is None
    assert bad.text is None
    assert bad.error is not None
    assert (bad.id, bad.error.code, bad.error.message) == ("b", "not_an_image", "no")


def test_a_refused_request_is_an_error_of_each_of_its_images() -> None:
    error = {"error": {"code": "request_too_large", "field": "body", "message": "split it"}}
    results = client(Service(httpx.Response(413, json=error))).caption(IMAGES[:2])
    assert [result.error and result.error.code for result in results] == ["request_too_large"] * 2


def test_a_busy_service_is_asked_again_after_its_retry_after() -> None:
    slept: list[float] = []
    results = client(Service(busy(), busy()), slept).caption(IMAGES[:1])
    assert results[0].text == "bytes of 0"
    assert len(slept) == 2
    assert all(2.0 <= seconds <= 2.5 for seconds in slept)


def test_without_retry_after_and_without_connection_the_pause_grows() -> None:
    slept: list[float] = []
    service = Service(busy(None), httpx.ConnectError("refused"), httpx.ReadError("reset"))
    assert client(service, slept).caption(IMAGES[:1])[0].text == "bytes of 0"
    assert slept == pytest.approx([0.25, 0.5, 1.0], rel=0.26)


def test_patience_has_an_end_and_the_error_names_address_and_reason() -> None:
    slept: list[float] = []
    service = Service(*[httpx.ConnectError("refused")] * 100)
    with pytest.raises(CaptionerUnreachableError, match=r"http://c .*ConnectError: refused"):
        client(service, slept, patience_s=20).caption(IMAGES[:1])
    assert 20 <= sum(slept) < 30


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"captions": []}),
        httpx.Response(404, json={"detail": "no"}),
    ],
)
def test_something_that_is_no_captioner_is_an_error(answer: httpx.Response) -> None:
    with pytest.raises(CaptionerUnreachableError, match="check the address"):
        client(Service(answer)).caption(IMAGES[:1])


def test_progress_counts_up_to_all_images() -> None:
    seen: list[tuple[int, int]] = []
    client(Service(), images_per_request=4, concurrency=1).caption(
        IMAGES, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(4, 10), (8, 10), (10, 10)]


async def test_it_can_be_awaited_inside_an_event_loop() -> None:
    results = await client(Service()).caption_async(IMAGES)
    assert len(results) == 10
