import socket

import pytest

from serving.stack.errors import StackError
from serving.stack.ports import Ports, free_ports


def test_settings_move_single_ports_and_read_back() -> None:
    ports = Ports.parse(["captioner=9001"])
    assert ports == Ports(captioner=9001)
    assert Ports.parse(ports.settings()) == ports


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("captoiner=9001", "no port 'captoiner'"),
        ("captioner=80", "1024 to 65535"),
        ("captioner=x", "captioner=NUMBER"),
        ("captioner", "captioner=NUMBER"),
        ("captioner=8080", "transformer_http=8080: captioner has that port"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_was_expected(setting: str, words: str) -> None:
    with pytest.raises(StackError, match=words):
        Ports.parse([setting])


def test_a_busy_port_is_named_with_its_holder_and_the_way_out() -> None:
    ports = free_ports()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", ports.triton_grpc))
        holder.listen()
        with pytest.raises(
            StackError,
            match=rf"port {ports.triton_grpc} \(triton_grpc\) is in use by python.*--port triton_grpc=NUMBER",
        ):
            ports.require_free()
    ports.require_free()
