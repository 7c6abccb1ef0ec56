"""The loopback ports of the stack, and who sits on one that is taken."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import psutil

from serving.stack.errors import StackError

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """One TCP port per listening socket."""

    captioner: int = 8001
    triton_http: int = 8100
    triton_grpc: int = 8101
    triton_metrics: int = 8102
    transformer_http: int = 8080
    transformer_grpc: int = 8081

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names that `--port NAME=NUMBER` takes."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def parse(cls, settings: list[str]) -> "Ports":
        """Ports from `NAME=NUMBER` settings.

        Raises:
            StackError: an unknown name, a number outside 1024..65535, or one port given to two sockets.
        """
        chosen: dict[str, int] = {}
        for setting in settings:
            name, _, number = setting.partition("=")
            if name not in cls.names():
                raise StackError(f"--port {setting}: there is no port {name!r}; the names are {', '.join(cls.names())}")
            if not number.isdecimal() or not 1024 <= int(number) <= 65535:
                raise StackError(f"--port {setting}: expected {name}=NUMBER with a number from 1024 to 65535")
            chosen[name] = int(number)
        ports = replace(cls(), **chosen)
        ports._refuse_duplicates()
        return ports

    def as_dict(self) -> dict[str, int]:
        """Name to number."""
        return {name: getattr(self, name) for name in self.names()}

    def settings(self) -> list[str]:
        """The `NAME=NUMBER` settings that `parse` reads back."""
        return [f"{name}={number}" for name, number in self.as_dict().items()]

    def require_free(self) -> None:
        """Refuse to start on a port that another program holds.

        Raises:
            StackError: names each busy port, its holder where it can be told, and the option that moves it.
        """
        busy = {name: port for name, port in self.as_dict().items() if not is_free(port)}
        if busy:
            raise StackError("\n".join(_busy_line(name, port) for name, port in busy.items()))

    def _refuse_duplicates(self) -> None:
        seen: dict[int, str] = {}
        for name, number in self.as_dict().items():
            if number in seen:
                raise StackError(f"--port {name}={number}: {seen[number]} has that port already; choose another")
            seen[number] = name


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_ports() -> Ports:
    """Ports that nobody listens on at this moment (for tests and second stacks)."""
    sockets = [socket.socket() for _ in Ports.names()]
    try:
        for each in sockets:
            each.bind((HOST, 0))
        numbers: Mapping[str, int] = dict(zip(Ports.names(), (each.getsockname()[1] for each in sockets), strict=True))
    finally:
        for each in sockets:
            each.close()
    return Ports(**numbers)


def _busy_line(name: str, port: int) -> str:
    return f"port {port} ({name}) is in use{_holder(port)}; stop that program or choose another: --port {name}=NUMBER"


def _holder(port: int) -> str:
    try:
        listening = [
            c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr[1:2] == (port,)
        ]
        pids = {connection.pid for connection in listening if connection.pid}
        names = [f"{psutil.Process(pid).name()} (pid {pid})" for pid in sorted(pids)]
    except psutil.Error:
        return ""  # another user's process: the kernel does not tell
    return f" by {', '.join(names)}" if names else ""
