"""A server's socket, bound before anything else is started: one way for all that listen."""

import socket


def bound(host: str, port: int, argument: str) -> socket.socket:
    """A TCP socket bound to the address; `argument` is the setting of the port, for the message.

    Raises:
        OSError: the port is taken or the address is not this machine's; says what to do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as cause:
        listener.close()
        message = f"cannot listen on {host}:{port}: {cause.strerror}; free the port or choose another {argument}"
        raise OSError(message) from cause
    return listener
