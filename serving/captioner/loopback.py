"""Keep Serve's replicas off the network on one machine."""

from __future__ import annotations


def bind_replica_to_loopback() -> None:
    """Make the replica that this process becomes listen on 127.0.0.1 only. To be called in its constructor.

    Ray 2.60 starts in every replica a gRPC server for calls between deployments, on all addresses of the machine,
    without authentication, although it unpickles what it is sent; the address is written into the code. (In a
    cluster other nodes need it: there a NetworkPolicy keeps strangers away.) A Ray in which the function
    has another name fails here, loudly, and a test looks at the open ports.
    """
    from ray.serve._private import replica

    listen = replica.add_port_to_grpc_server

    def on_loopback(server: object, address: str) -> int:
        port: int = listen(server, address.replace("[::]", "127.0.0.1"))
        return port

    replica.add_port_to_grpc_server = on_loopback
