"""Write the digests of images: `make pin-images`.

    python -m charts.tooling.pin_images                                        the Dockerfile's bases
    python -m charts.tooling.pin_images --values site.yaml --out digests.yaml  the images that these values install

The second file is for `helm install … --values site.yaml --values digests.yaml`. Nothing is written unless every digest
is told.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from charts.tooling.pods import pods_of
from charts.tooling.registry import Reference, RegistryError, digest
from charts.tooling.render import RenderError, parse, render
from charts.tooling.values import CHART
from models.files import write_atomic

DOCKERFILE = Path(__file__).parents[2] / "serving" / "Dockerfile"
_BASES = re.compile(r"^(ARG (?:SYSTEM_)?BASE=)([^@\s]+)(?:@\S+)?$", re.MULTILINE)
_TIMEOUT_SECONDS = 30.0


def pinned_dockerfile(text: str, ask: "Asker") -> str:
    """The Dockerfile with a digest after each base's tag, those of before replaced."""
    return _BASES.sub(lambda found: f"{found[1]}{found[2]}@{ask(found[2])}", text)


def digests(files: Sequence[Path], ask: "Asker") -> dict[str, dict[str, str]]:
    """Values of each image that the values install, by its name under `images`: its digest, and the tag that had it.

    Raises:
        RenderError: helm refuses the values.
    """
    used = {
        container["image"].partition("@")[0]
        for pod in pods_of(parse(render(files, ("images.requireDigest=false", *_without_digests(files)))))
        for container in pod.all_containers
    }
    names = _names(files)
    return {
        name: {"tag": reference.rpartition(":")[2], "tagSuffix": "", "digest": ask(reference)}
        for name, reference in sorted(names.items())
        if reference in used
    }


def _names(files: Iterable[Path]) -> dict[str, str]:
    """Reference with its tag of every image in the values, as the chart's template writes it."""
    values: dict[str, Any] = {}
    for file in (CHART / "values.yaml", *files):
        values = _merged(values, yaml.safe_load(file.read_text("utf-8")) or {})
    version = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["appVersion"]
    found = {}
    for name, image in values["images"].items():
        if isinstance(image, Mapping):
            registry = str(values["global"]["imageRegistry"] or image["registry"]).removesuffix("/")
            path = f"{registry}/{image['repository']}" if registry else image["repository"]
            found[name] = f"{path}:{image['tag'] or version + image['tagSuffix']}"
    return found


def _without_digests(files: Iterable[Path]) -> list[str]:
    return [f"images.{name}.digest=" for name in _names(files)]


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return both


class Asker:
    """Asks a registry, and says what it told."""

    def __init__(self, client: httpx.Client, logins: Path) -> None:
        self._client, self._logins = client, logins

    def __call__(self, name: str) -> str:
        found = digest(Reference.of(name), self._client, self._logins)
        sys.stdout.write(f"{name}@{found}\n")
        return found


def main(argv: Sequence[str]) -> int:
    """Ask for all, then write; 1 when a registry did not tell one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=Path, nargs="+", default=[])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--dockerfile", type=Path, default=DOCKERFILE)
    given = parser.parse_args(argv)
    if bool(given.values) != bool(given.out):
        parser.error("--values and --out go together: values of the chart, and the file for their digests")
    logins = Path(os.environ.get("DOCKER_CONFIG", str(Path.home() / ".docker"))) / "config.json"
    try:
        with httpx.Client(timeout=_TIMEOUT_SECONDS) as client:
            ask = Asker(client, logins)
            if given.out:
                text = yaml.safe_dump({"images": digests(given.values, ask)})
                path = given.out
            else:
                path, text = given.dockerfile, pinned_dockerfile(given.dockerfile.read_text("utf-8"), ask)
    except (RegistryError, RenderError, OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\nNothing was changed.\n")
        return 1
    write_atomic(path, text.encode())
    sys.stdout.write(f"written: {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
