"""A user's exposures are out of the files and the stream in which transformers leave them."""

import gzip
import json
from pathlib import Path

import duckdb
import pytest
import redis
from redis_server import needs_redis, running_redis

from models.experiments.events import Exposure, pseudonym
from serving.rollout.evidence.parquet import convert
from serving.transformer.exposures.address import StreamAddress, parse
from serving.transformer.exposures.folder_sink import FolderSink
from serving.transformer.exposures.sink import Line
from serving.transformer.exposures.stream_sink import StreamSink
from tests.forgetting.user_command import KEY, content, run, user

ANN, BOB = (pseudonym(KEY.encode(), name) for name in ("ann", "bob"))


def line(event: str, who: str) -> Line:
    fields = {"experiment": "e", "uid": "u", "arm": "stable", "served": "stable", "model": "m"}
    shown = Exposure(
        id=event, time=1.0, revision=1, user=who, candidates=1, captioned=0, seconds=0.1,
        bundle_id="b", contract_digest="c", **fields,
    )  # fmt: skip
    return Line(event, 1.0, shown.model_dump_json().encode())


def sink(folder: Path) -> FolderSink:
    return FolderSink(folder, seconds=300, size=1 << 20)


def test_closed_files_of_every_kind_lose_the_users_lines_and_keep_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "exposures"
    writer = sink(folder)
    writer.write([line("1", ANN), line("2", BOB), line("3", ANN)])
    writer.close()
    (plain,) = folder.glob("*.jsonl")
    (folder / "packed.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    convert(str(plain), folder / "old.parquet")
    (folder / "notes.txt").write_text("not ours")
    assert user("find", "ann", "--exposures", f"file://{folder}", code=3)["places"][0]["there"] == {"exposures": 6}
    answer = user("forget", "ann", "--exposures", f"file://{folder}")
    assert answer["places"][0]["removed"] == {"exposures": 6}
    assert ANN.encode() not in content(folder)
    assert ANN.encode() not in gzip.decompress((folder / "packed.jsonl.gz").read_bytes())
    assert [json.loads(each)["user"] for each in plain.read_text().splitlines()] == [BOB]
    rows = duckdb.sql(f"""SELECT "user", id FROM '{folder / "old.parquet"}'""").fetchall()
    assert rows == [(BOB, "2")]
    assert len(list(folder.iterdir())) == 4, "nothing half-written is left"


def test_a_file_that_a_transformer_is_writing_is_named_and_it_is_not_called_done(tmp_path: Path) -> None:
    writer = sink(tmp_path)
    writer.write([line("1", ANN), line("2", BOB)])
    answer = user("forget", "ann", "--exposures", f"file://{tmp_path}", code=1)
    assert "still writing" in answer["places"][0]["fault"]
    writer.write([line("3", BOB)])
    writer.close()
    assert user("forget", "ann", "--exposures", f"file://{tmp_path}")["gone"] is True
    (plain,) = tmp_path.glob("*.jsonl")
    assert [json.loads(each)["id"] for each in plain.read_text().splitlines()] == ["2", "3"]


@needs_redis
def test_entries_of_a_stream_are_deleted_and_what_the_server_keeps_is_said(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        uri = f"{server.uri}?stream=seen"
        address = parse(uri)
        assert isinstance(address, StreamAddress)
        writer = StreamSink(address.redis, "seen", 10_000, {})
        writer.write([line(str(n), ANN if n % 3 else BOB) for n in range(1200)])
        writer.close()
        assert user("find", "ann", "--exposures", uri, code=3)["places"][0]["there"] == {"exposures": 800}
        (told,) = user("forget", "ann", "--exposures", uri)["places"]
        assert (told["removed"], told["there"]) == ({"exposures": 800}, {"exposures": 0})
        assert "until a whole block is gone" in told["note"]
        client = redis.Redis.from_url(server.uri)
        assert client.xlen("seen") == 400
        assert {json.loads(fields[b"event"])["user"] for _, fields in client.xrange("seen")} == {BOB}
        client.close()


@pytest.mark.parametrize(
    ("words", "environ", "said"),
    [
        (["--exposures", "file:///x"], {"SIGHTLINE_PSEUDONYM_KEY": "short"}, "SIGHTLINE_PSEUDONYM_KEY has 5 bytes"),
        (["--exposures", "http://c:8090/v1/exposures"], {}, "named by --collector"),
        (["--exposures", "ftp://x"], {}, "cannot be read as an address"),
        (["--store", "s3://bucket"], {}, "expected a folder, redis://"),
        (["--collector", "http://me:secret@c:8090"], {}, "expected http://host:port alone"),
        (["--collector", "http://c:8090/v1/users/forget"], {}, "expected http://host:port alone"),
        (["--store", "/x"], {"SIGHTLINE_STORE_PASSWORD_FILE": "/no/such"}, "SIGHTLINE_STORE_PASSWORD_FILE: /no/such"),
        (
            ["--store", "/x"],
            {"SIGHTLINE_STORE_PASSWORD_FILE": "/x", "SIGHTLINE_STORE_PASSWORD": "secret"},
            "are both set",
        ),
    ],
)
def test_a_wrong_address_or_secret_is_one_sentence(words: list[str], environ: dict[str, str], said: str) -> None:
    done = run("forget", "ann", *words, **environ)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
