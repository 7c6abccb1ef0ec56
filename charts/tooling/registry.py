"""Digests of images, asked from their registries by the HTTP API v2 (the OCI distribution specification)."""

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path

import httpx

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HUB = "docker.io"


class RegistryError(RuntimeError):
    """A registry did not tell an image's digest; the message says which, and what it said instead."""


@dataclass(frozen=True)
class Reference:
    """An image by registry, repository and tag; as container runtimes read a name."""

    registry: str
    repository: str
    tag: str

    @classmethod
    def of(cls, name: str) -> "Reference":
        """Read `python:3.11`, `nvcr.io/nvidia/tritonserver:26.06-py3`; a digest after the tag is dropped.

        Raises:
            RegistryError: there is no tag.
        """
        path, _, tag = name.partition("@")[0].rpartition(":")
        if not path or "/" in tag:
            raise RegistryError(f"{name} has no tag; expected name:tag")
        host, slash, rest = path.partition("/")
        if not slash or not (host == "localhost" or set(host) & {".", ":"}):
            host, rest = _HUB, path
        if host == _HUB and "/" not in rest:
            rest = f"library/{rest}"
        return cls(host, rest, tag)

    @property
    def url(self) -> str:
        """Address of its manifest. A registry on this machine speaks plain HTTP, every other one HTTPS."""
        host = "registry-1.docker.io" if self.registry == _HUB else self.registry
        scheme = "http" if host.partition(":")[0] in {"localhost", "127.0.0.1"} else "https"
        return f"{scheme}://{host}/v2/{self.repository}/manifests/{self.tag}"


def digest(reference: Reference, client: httpx.Client, logins: Path | None = None) -> str:
    """`sha256:…` of what the tag names now: of the list where an image is for several platforms.

    Raises:
        RegistryError: the registry cannot be reached, refuses, or answers without a digest.
    """
    told = f"{reference.registry}/{reference.repository}:{reference.tag}"
    headers = {"Accept": _MANIFESTS}
    try:
        answer = client.head(reference.url, headers=headers)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            headers |= _login(answer.headers.get("www-authenticate", ""), reference, client, logins)
            answer = client.head(reference.url, headers=headers)
    except httpx.HTTPError as error:
        raise RegistryError(f"the registry of {told} could not be asked: {error or type(error).__name__}") from error
    if answer.status_code != httpx.codes.OK:
        raise RegistryError(
            f"the registry of {told} answered {answer.status_code}; is the tag there, and yours to read?"
        )
    found = str(answer.headers.get("docker-content-digest", ""))
    if not _DIGEST.fullmatch(found):
        raise RegistryError(f"the registry of {told} told {found[:80]!r} as its digest; expected sha256: and 64 digits")
    return found


def _login(challenge: str, reference: Reference, client: httpx.Client, logins: Path | None) -> dict[str, str]:
    """The header that a challenge asks for: a token, or the login itself."""
    login = _stored(reference.registry, logins)
    basic = {"Authorization": f"Basic {login}"} if login else {}
    if not challenge.lower().startswith("bearer "):
        return basic
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = asked.pop("realm", "")
    if not realm.startswith("https://") and not reference.url.startswith("http://"):
        raise RegistryError(f"the registry {reference.registry} wants a token from {realm[:80]!r}; expected https://")
    asked = {"service": asked.get("service", ""), "scope": f"repository:{reference.repository}:pull"}
    answer = client.get(realm, params=asked, headers=basic)
    if answer.status_code != httpx.codes.OK:
        raise RegistryError(
            f"the registry {reference.registry} gave no token for {reference.repository}: {answer.status_code}"
        )
    try:
        given = answer.json()
        return {"Authorization": f"Bearer {given.get('token') or given['access_token']}"}
    except (ValueError, KeyError, AttributeError) as error:
        raise RegistryError(f"the registry {reference.registry} answered for a token without one") from error


def _stored(registry: str, logins: Path | None) -> str:
    """What `docker login` kept for a registry; nothing where a credential helper keeps it."""
    if logins is None or not logins.is_file():
        return ""
    kept = json.loads(logins.read_text("utf-8")).get("auths", {})
    entry = kept.get(registry) or (kept.get("https://index.docker.io/v1/") if registry == _HUB else None) or {}
    login = str(entry.get("auth", ""))
    base64.b64decode(login, validate=True)
    return login
