"""Pictures of a table's items: those that stand in the table itself, and those of hosts that are named."""

import pytest
from typer.testing import CliRunner

from serving.backfill.arguments import HOSTS_VARIABLE, parse
from serving.backfill.pictures import PictureReader
from serving.captioner.hosts import listed_hosts
from serving.cli.main import app

GIVEN = ["--data", "d", "--captioner", "http://c", "--store", "s", "--out", "o"]


async def test_a_data_url_in_a_table_is_its_own_picture() -> None:
    reader = PictureReader()
    found = await reader.read("data:image/png;base64,aGVs bG8")
    assert (found.data, found.failure) == (b"hello", None)
    broken = await reader.read("data:image/png;base64,?")
    assert broken.data == b""
    assert "not base64" in str(broken.failure)


@pytest.mark.parametrize(
    ("listed", "url"),
    [
        ("pictures.internal.", "http://pictures.internal/a.png"),
        ("pictures.internal", "http://Pictures.Internal./a.png"),
        ("pictures.internal:80", "http://pictures.internal/a.png"),
        ("pictures.internal", "https://pictures.internal:443/a.png"),
        ("Bücher.internal:8080", "http://xn--bcher-kva.internal:8080/a.png"),
        ("[fd00::1]:8080", "http://[fd00:0:0:0:0:0:0:1]:8080/a.png"),
        ("[fd00:0::1]", "http://[FD00::1]/a.png"),
        ("other.internal,pictures.internal", "http://pictures.internal/a.png"),
        ("other.internal pictures.internal", "http://pictures.internal/a.png"),
    ],
)
async def test_a_host_is_named_however_list_and_table_write_it(listed: str, url: str) -> None:
    async def private(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    found = await PictureReader(listed_hosts([listed]), 1.0, private).read(url)
    assert "not public" not in str(found.failure)
    assert "url_hosts" not in str(found.failure)
    hint = str((await PictureReader(frozenset(), 1.0, private).read(url)).failure)
    assert "is not public; if it is yours, add --picture-host " in hint
    again = await PictureReader(listed_hosts([hint.rsplit(" ", 1)[1]]), 1.0, private).read(url)
    assert "not public" not in str(again.failure), "the advice works as printed"


async def test_another_host_or_port_is_not_named() -> None:
    async def private(host: str, port: int) -> list[str]:
        return ["10.0.0.1"]

    reader = PictureReader(listed_hosts(["pictures.internal:8080"]), 1.0, private)
    for url in (
        "http://pictures.internal/a",
        "http://pictures.internal:8081/a",
        "http://pictures.internal.evil:8080/a",
    ):
        assert "not public" in str((await reader.read(url)).failure)


def test_hosts_come_from_the_command_line_and_the_environment() -> None:
    environ = {HOSTS_VARIABLE: "images.internal:8080, other.internal"}
    given = parse([*GIVEN, "--picture-host", "third.internal"], environ)
    assert given.picture_hosts == {"images.internal:8080", "other.internal", "third.internal"}


@pytest.mark.parametrize("entry", ["http://images.internal", "*.internal", "images.internal:x", "images.internal/a"])
def test_a_host_that_cannot_be_read_is_refused_in_words(entry: str, capsys: pytest.CaptureFixture[str]) -> None:
    for argv, environ in (([*GIVEN, "--picture-host", entry], {}), (GIVEN, {HOSTS_VARIABLE: entry})):
        with pytest.raises(SystemExit, match="2"):
            parse(argv, environ)
        assert f"--picture-host or $SIGHTLINE_PICTURE_HOSTS: {entry!r} is not a host" in capsys.readouterr().err


def test_the_command_refuses_such_a_host_and_one_that_would_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    ended = CliRunner().invoke(app, ["caption", "--dataset", "shop", "--picture-host", "http://images.internal"])
    assert ended.exit_code == 2
    assert "'http://images.internal' is not a host or host:port" in ended.output
    ended = CliRunner().invoke(app, ["caption", "a.png", "--picture-host", "images.internal"])
    assert ended.exit_code == 2
    assert "--picture-host belong to --dataset FOLDER" in ended.output
