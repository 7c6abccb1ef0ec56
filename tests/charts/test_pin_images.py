"""Digests of images come from a registry, here a small one that wants a token; or nothing is written."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from charts.tooling.pin_images import DOCKERFILE, main
from charts.tooling.registry import Reference, RegistryError
from charts.tooling.render import RenderError, render
from charts.tooling.values import CHART


def digest_of(path):
    return f"sha256:{hashlib.sha256(path.encode()).hexdigest()}"


class Registry(BaseHTTPRequestHandler):
    missing = "nothing"
    wrong = "nothing"

    def do_GET(self):
        asked = parse_qs(urlsplit(self.path).query)
        self.answer(200, {}, json.dumps({"token": asked["scope"][0]}).encode())

    def do_HEAD(self):
        repository = self.path.removeprefix("/v2/").partition("/manifests/")[0]
        port = self.server.server_address[1]
        if self.headers.get("Authorization") != f"Bearer repository:{repository}:pull":
            realm = f'Bearer realm="http://127.0.0.1:{port}/token",service="here",scope="anything"'
            self.answer(401, {"WWW-Authenticate": realm})
        elif self.missing in self.path:
            self.answer(404, {})
        else:
            told = "latest" if self.wrong in self.path else digest_of(self.path)
            assert "application/vnd.oci.image.index.v1+json" in self.headers["Accept"]
            self.answer(200, {"Docker-Content-Digest": told})

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def registry(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Registry,), {})) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def dockerfile(registry, tmp_path):
    host = f"127.0.0.1:{registry.server_address[1]}"
    path = tmp_path / "Dockerfile"
    path.write_text(DOCKERFILE.read_text().replace("docker.io", host))
    return path


def test_every_base_gets_the_digest_that_its_registry_tells_and_a_new_one_replaces_it(dockerfile):
    before = dockerfile.read_text()
    for _ in range(2):
        assert main(["--dockerfile", str(dockerfile)]) == 0
    changed = [line for line in dockerfile.read_text().splitlines() if line not in before.splitlines()]
    assert len(changed) == 2
    for line in changed:
        name, _, told = line.partition("=")[2].partition("@")
        repository, _, tag = name.partition("/")[2].rpartition(":")
        assert told == digest_of(f"/v2/{repository}/manifests/{tag}")
        assert line.partition("@")[0] in before


@pytest.mark.parametrize(
    ("fault", "words"), [("missing", "answered 404"), ("wrong", "told 'latest' as its digest; expected sha256:")]
)
def test_one_digest_that_is_not_told_changes_nothing(registry, dockerfile, capsys, fault, words):
    setattr(registry.RequestHandlerClass, fault, "debian")
    before = dockerfile.read_text()
    assert main(["--dockerfile", str(dockerfile)]) == 1
    assert dockerfile.read_text() == before
    said = capsys.readouterr().err
    assert words in said
    assert "library/debian:" in said
    assert "Nothing was changed." in said


def test_a_registry_that_cannot_be_reached_changes_nothing(dockerfile, registry, capsys):
    port = registry.server_address[1]
    dockerfile.write_text(dockerfile.read_text().replace(f":{port}", ":1"))
    before = dockerfile.read_text()
    assert main(["--dockerfile", str(dockerfile)]) == 1
    assert dockerfile.read_text() == before
    assert "could not be asked" in capsys.readouterr().err


def test_the_images_that_values_install_get_digests_which_the_chart_then_demands(registry, tmp_path, capsys):
    site, out = tmp_path / "site.yaml", tmp_path / "digests.yaml"
    host = f"127.0.0.1:{registry.server_address[1]}"
    site.write_text(yaml.safe_dump({"global": {"imageRegistry": host}, "images": {"requireDigest": True}}))
    files = [CHART / "values-production.yaml", site]
    with pytest.raises(RenderError, match="make pin-images") as refused:
        render(files)
    assert "images.captioner, images.items, images.ranker, images.rollout" in str(refused.value)
    assert main(["--values", *map(str, files), "--out", str(out)]) == 0
    found = yaml.safe_load(out.read_text())["images"]
    assert set(found) == {"captioner", "rollout", "transformer", "triton"}  # what these values install, and no other
    assert found["captioner"]["digest"] == digest_of("/v2/sightline/captioner/manifests/0.1.0-cuda")
    text = render([*files, out])
    pinned = out.read_text()
    assert main(["--values", *map(str, [*files, out]), "--out", str(out)]) == 0  # again, with the file of before
    assert out.read_text() == pinned
    assert f"{host}/sightline/captioner@{found['captioner']['digest']}" in text
    assert "image: " in text
    assert all("@sha256:" in line for line in text.splitlines() if line.strip().startswith("image: "))


def test_digests_are_not_asked_for_unless_the_values_say_so():
    text = render([CHART / "values-production.yaml"])
    images = [line for line in text.splitlines() if line.strip().startswith("image: ")]
    assert images
    assert not any("@sha256:" in line for line in images)


@pytest.mark.parametrize(
    ("name", "registry", "repository", "tag"),
    [
        ("python:3.11", "docker.io", "library/python", "3.11"),
        ("sightline/items:1", "docker.io", "sightline/items", "1"),
        ("localhost:5000/a/b:2@sha256:00", "localhost:5000", "a/b", "2"),
        ("nvcr.io/nvidia/tritonserver:26.06-py3", "nvcr.io", "nvidia/tritonserver", "26.06-py3"),
    ],
)
def test_names_are_read_as_container_runtimes_read_them(name, registry, repository, tag):
    assert Reference.of(name) == Reference(registry, repository, tag)


def test_a_name_without_a_tag_is_refused():
    with pytest.raises(RegistryError, match="has no tag"):
        Reference.of("localhost:5000/python")
