"""The command line with little data and quick stand-ins for the three servers; everything else is the product's own.

`python tests/stack/reduced.py cli --root X up …`. SIGHTLINE_TEST_HALT names a step of the journal at which everything
stands still, so that a test can end the command just there.
"""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from models.leash import leashed  # noqa: E402
from serving.stack import control, daemon, journal, pipeline, services, showcase  # noqa: E402
from training.data.dataset import Dataset  # noqa: E402
from training.data.movielens import MovieLens  # noqa: E402

HALT = "SIGHTLINE_TEST_HALT"
FILMS, USERS, EACH = 100, 40, 80
STUB = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def send(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.send({})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["images"]
        with open(sys.argv[2], "a") as file:
            file.write("".join(image["id"] + "\\n" for image in asked))
        captions = [{"id": image["id"], "caption": "a red house", "finish": "stop"} for image in asked]
        self.send({"captions": captions, "captioner": "stub@1", "prompt": "what is it"})

    def log_message(self, *words):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def films() -> MovieLens:
    random = np.random.default_rng(7)
    seen = [random.choice(FILMS, EACH, replace=False) for _ in range(USERS)]
    rows = [
        (str(user + 1), str(film + 1), float(random.random() < 0.5))
        for user, films in enumerate(seen)
        for film in films
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "label"])
    frame["timestamp"] = np.arange(len(frame)) * 1000 + 880_000_000
    ids = [str(film + 1) for film in range(FILMS)]
    users = pd.DataFrame({"user_id": [str(user + 1) for user in range(USERS)], "age": list(range(20, 20 + USERS))})
    titles = pd.DataFrame({"item_id": ids, "title": [f"Film {item}" for item in ids]})
    titles["year"] = pd.Series([1995] * FILMS, dtype=object)
    titles["genres"] = pd.Series([("Comedy",)] * FILMS, dtype=object)
    return MovieLens(Dataset.of(frame, pd.DataFrame({"item_id": ids}), users), titles)


def load(folder: Path, say: Any) -> MovieLens:
    """Stands for the download: a child process that does not end by itself where the test halts there."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.environ.get(HALT) == "fetching the interactions":
        subprocess.run(leashed(sys.executable, "-c", "import time; time.sleep(600)"), check=False)
    return films()


def quick(original: Any, number: str) -> Any:
    def service(layout: Any, ports: Any) -> Any:
        argv = (sys.executable, "-c", STUB, str(getattr(ports, number)), str(layout.root / "captioned.txt"))
        return replace(original(layout, ports), argv=argv, prepare=lambda: None)

    return service


def rank(ports: Any, asked: Any) -> showcase.Ranked:
    ranking = [{"item_id": item, "score": 0.5, "rank": at + 1} for at, item in enumerate(asked.items)]
    return showcase.Ranked(asked, {"ranking": ranking}, {"ranking": ranking}, 0.0)


def halting(told: Any) -> Any:
    def report(self: journal.Journal, step: str, done: int, of: int) -> None:
        told(self, step, done, of)
        halt = os.environ.get(HALT)
        if halt and step.startswith(halt) and (done > 0 or of <= 2) and halt != "fetching the interactions":
            self._write()
            time.sleep(600)

    return report


def main() -> None:
    pipeline.RECIPE = HERE / "reduced_recipe.yaml"
    pipeline.movielens.load = load
    journal.Journal.report = halting(journal.Journal.report)  # type: ignore[method-assign]
    services.captioner = quick(services.captioner, "captioner")
    services.triton = quick(services.triton, "triton_http")
    services.transformer = quick(services.transformer, "transformer_http")
    showcase.rank = rank
    control.DAEMON = daemon.PROGRAM = (sys.executable, __file__, "daemon")
    what, *words = sys.argv[1:]
    if what == "daemon":
        sys.exit(daemon.main(words))
    from serving.cli.main import main as cli

    sys.argv = ["sightline", *words]
    cli()


if __name__ == "__main__":
    main()
