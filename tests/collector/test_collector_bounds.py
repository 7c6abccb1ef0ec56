"""Bodies that do not come, questions that are too many, a program that ends in the middle of a question."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from serving.rollout.collector.asking import Asking
from serving.rollout.collector.body import read_body
from serving.rollout.collector.faults import RequestError

TYPE = [(b"content-type", b"application/json; charset=utf-8")]


def request(*messages: dict[str, Any]) -> Request:
    """A request whose body comes in these messages, and then no more."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return Request({"type": "http", "method": "POST", "headers": TYPE}, receive)


def part(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_in_parts_is_put_together() -> None:
    assert await read_body(request(part(b"[1,"), part(b"2]", more=False)), ("application/json",), 100) == b"[1,2]"


async def test_a_body_that_does_not_come_is_given_up() -> None:
    with pytest.raises(RequestError, match=r"only 1 bytes came in 0.05 s") as refused:
        await read_body(request(part(b"[")), ("application/json",), 100, seconds=0.05)
    assert refused.value.status == 408


async def test_a_connection_that_closes_is_no_body() -> None:
    with pytest.raises(RequestError, match="closed before its end") as refused:
        await read_body(request(part(b"["), {"type": "http.disconnect"}), ("application/json",), 100)
    assert refused.value.status == 400


async def test_a_body_is_not_read_past_its_limit() -> None:
    with pytest.raises(RequestError, match="more than 3 bytes") as refused:
        await read_body(request(part(b"[1"), part(b",2"), part(b",3]")), ("application/json",), 3)
    assert refused.value.status == 413


async def test_only_so_many_questions_wait(tmp_path: Path) -> None:
    asking = Asking(tmp_path, 10)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asking.alone())
        waiting = [asyncio.create_task(asking.ask("evidence", b"{}")) for _ in range(7)]
        await asyncio.sleep(0)
        with pytest.raises(RequestError, match="8 questions wait already") as refused:
            await asking.ask("evidence", b"{}")
        assert (refused.value.status, refused.value.retry_after) == (503, 10)
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    async with asking.alone():  # all places are free again
        pass


async def test_a_question_of_a_database_that_is_not_there_is_refused_for_now(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"could not be computed .exit 1.*unable to open") as refused:
        await Asking(tmp_path, 30).ask("evidence", b"{}")
    assert refused.value.status == 503
