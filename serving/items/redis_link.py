"""The connection to Redis or Valkey: every way in which it fails becomes an `ItemStoreError` that says what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.items import ItemStoreError

USERNAME, PASSWORD, CA_FILE = "SIGHTLINE_STORE_USERNAME", "SIGHTLINE_STORE_PASSWORD", "SIGHTLINE_STORE_CA_FILE"
DEFAULT_PREFIX = "sightline:"
WHAT = "item store"
_FORM = "expected redis://host:port/number or rediss://host:port/number, with ?prefix=name: if it shares the database"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a store is: `prefix` begins every key, so that a database may be shared."""

    host: str
    port: int
    database: int
    tls: bool
    prefix: str

    @classmethod
    def parse(cls, uri: str, what: str = WHAT) -> RedisAddress:
        """Read redis://host:port/number or rediss://…. Raises `ItemStoreError` for anything else, naming `what`."""
        parts = urlsplit(uri)
        if parts.username is not None or parts.password is not None:
            raise ItemStoreError(
                f"{what} {parts.scheme}://…@{parts.hostname}: user and password do not belong into the address, "
                f"which is logged; set {PASSWORD} and, if there is one, {USERNAME}"
            )
        try:
            port, query = parts.port, parse_qs(parts.query, strict_parsing=bool(parts.query))
            database = int(parts.path.strip("/") or 0)
        except ValueError as cause:
            raise ItemStoreError(f"{what} {uri}: {cause}; {_FORM}") from cause
        unknown = sorted(set(query) - {"prefix"})
        if parts.scheme not in ("redis", "rediss") or not parts.hostname or database < 0 or unknown or parts.fragment:
            raise ItemStoreError(f"{what} {uri}: cannot be read as an address; {_FORM}")
        prefix = query.get("prefix", [DEFAULT_PREFIX])[-1]
        return cls(parts.hostname, port or 6379, database, parts.scheme == "rediss", prefix)

    def __str__(self) -> str:
        scheme = "rediss" if self.tls else "redis"
        shared = "" if self.prefix == DEFAULT_PREFIX else f"?prefix={self.prefix}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}/{self.database}{shared}"


class RedisLink:
    """A client of one address. Safe to share between threads."""

    def __init__(self, address: RedisAddress, environ: Mapping[str, str], timeout: float, what: str = WHAT) -> None:
        """Connects with the first question. `timeout` is in seconds, for connecting and for each answer."""
        self.where = f"{what} {address}"
        self._timeout = timeout
        self._closed = False
        self._tls = address.tls
        tls: dict[str, Any] = {"ssl": True, "ssl_ca_certs": self._authorities(environ)} if address.tls else {}
        self._client: Any = redis.Redis(
            host=address.host,
            port=address.port,
            db=address.database,
            username=environ.get(USERNAME) or None,
            password=environ.get(PASSWORD) or None,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # A connection that the server closed while it was idle is made anew by the pool; beyond that the caller
            # decides: who ranks degrades at once, who writes runs again.
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # nothing here needs more, and every Redis and Valkey speaks it
            **tls,
        )

    def close(self) -> None:
        """Close the connections; a later question raises `ItemStoreError`."""
        self._closed = True
        self._client.close()

    @contextmanager
    def client(self) -> Iterator[Any]:
        """The client; its errors come out as `ItemStoreError`."""
        with self._speaking():
            yield self._client

    @contextmanager
    def transaction(self) -> Iterator[RedisTransaction]:
        """Commands that the server carries out all together when the block ends, or not at all."""
        with self._speaking():
            pool = self._client.connection_pool
            connection = pool.get_connection()
            try:
                transaction = RedisTransaction(connection)
                yield transaction
                transaction.execute()
            except BaseException:
                connection.disconnect()  # the server forgets what it has not been told to carry out
                raise
            finally:
                pool.release(connection)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        if self._closed:
            raise ItemStoreError(f"{self.where}: is closed; open it again")
        try:
            yield
        except redis.RedisError as cause:
            raise ItemStoreError(f"{self.where}: {cause}; {_advice(cause, self._timeout, self._tls)}") from cause

    def _authorities(self, environ: Mapping[str, str]) -> str | None:
        file = environ.get(CA_FILE)
        if file and not Path(file).is_file():
            raise ItemStoreError(f"{self.where}: {CA_FILE} is {file}, which is no file; mount the certificate there")
        return file or None


class RedisTransaction:
    """MULTI … EXEC on one connection. Each command is sent at once and kept by the server, so that a caller with many
    rows need not hold them all.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._ask("MULTI")

    def queue(self, *command: bytes | str | int | float) -> None:
        """Hand over a command. Raises redis.RedisError when the server refuses it: nothing of the block happens."""
        self._ask(*command)

    def execute(self) -> None:
        """Have all commands carried out. Raises redis.RedisError."""
        for answer in self._ask("EXEC"):
            if isinstance(answer, redis.RedisError):
                raise answer

    def _ask(self, *command: bytes | str | int | float) -> Any:
        self._connection.send_command(*command)
        return self._connection.read_response()


def _advice(cause: redis.RedisError, timeout: float, tls: bool) -> str:
    if tls and isinstance(cause, redis.TimeoutError):
        return f"no answer within {timeout:g} s: does the server speak TLS on this port, is it overloaded?"
    for kind, advice in _BY_TYPE:
        if isinstance(cause, kind):
            return advice.format(timeout=timeout)
    for code, advice in _BY_CODE.items():
        if str(cause).startswith(code):
            return advice
    if "CERTIFICATE_VERIFY_FAILED" in str(cause):
        return f"set {CA_FILE} to the authority that signed the server's certificate, for the name in the address"
    if isinstance(cause, redis.ConnectionError) and tls:
        return "is Redis running with TLS on this port, is the address right, does the network let this pod reach it?"
    if isinstance(cause, redis.ConnectionError):
        return "is Redis running, is the address right, does the network let this pod reach it?"
    return "look this answer up in the server's documentation and its log"


# Order matters: the first classes derive from redis' ConnectionError and ResponseError.
_BY_TYPE: tuple[tuple[type[redis.RedisError], str], ...] = (
    (redis.BusyLoadingError, "the server reads its data from disk: wait until it is done"),
    (redis.AuthenticationError, f"set {PASSWORD} (and {USERNAME}, if the server has users) to what the server expects"),
    (redis.exceptions.NoPermissionError, "let this user run the command on these keys (ACL SETUSER)"),
    (redis.exceptions.AuthorizationError, "let this user run the command on these keys (ACL SETUSER)"),
    (redis.exceptions.MaxConnectionsError, "close stores that are no longer used"),
    (redis.TimeoutError, "no answer within {timeout:g} s: is the server overloaded or the network broken?"),
    (redis.ReadOnlyError, "this server is a read-only replica: point the writer at the primary"),
    (redis.OutOfMemoryError, "nothing was written; give Redis more memory (maxmemory), or split the catalogue"),
    (redis.exceptions.ClusterError, "this is a node of a Redis Cluster: give a server that holds all keys"),
    (redis.exceptions.AskError, "this is a node of a Redis Cluster: give a server that holds all keys"),
)
_BY_CODE = {
    "NOAUTH": f"set {PASSWORD} to the server's password",
    "DENIED": "the server runs in protected mode: give it a password, or let it listen on this network",
    "WRONGTYPE": "another program uses these keys: give the store a database number or a prefix of its own",
    "MISCONF": "the server cannot save to its disk and refuses writes: free space, see its log",
    "NOREPLICAS": "the primary waits for its replicas: see min-replicas-to-write",
    "MASTERDOWN": "the replica has lost its primary: repair it, or set replica-serve-stale-data",
    "ERR max number of clients": "too many clients: raise maxclients, or end some",
    "max number of clients": "too many clients: raise maxclients, or end some",
    "ERR DB index": "give a database number that the server has",
    "DB index": "give a database number that the server has",
}
