"""A team's own data as it might come: odd but legal ids, numbers and texts, pictures as files, by http, and none."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from training.captioner.render import render
from training.demo.world import World, draw

ITEMS, USERS, INTERACTIONS = 500, 300, 20_000
SIDE = 96
ODD_ITEMS = (
    "sku/12 ä",
    "00012",
    "12",
    "12.0",
    "Ω-7",
    "nan",
    "None",
    "'; drop",
    "a,b",
    "😀",
    "x" * 250,
    "1e3",
    "-0",
    " a ",
)
ODD_USERS = ("u/1", "007", "7", "7.0", "Zoë", "true", "null")


@dataclass
class PictureServer:
    """Serves a folder on loopback; `dead` answers 404 although the file is there."""

    url: str
    asked: list[str] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")


@contextmanager
def picture_server(folder: Path) -> Iterator[PictureServer]:
    server = PictureServer("")

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            if self.path.rpartition("/")[2] in server.dead:
                self.send_error(404)
                return
            super().do_GET()

        def log_message(self, *_: object) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def write(folder: Path, web: Path, url: str, seed: int = 3) -> World:
    """Write the three tables and columns.yaml into `folder`, half of the pictures beside them, a quarter into `web`."""
    world = draw(seed, USERS, ITEMS, INTERACTIONS)
    items = _named(world.dataset.items["item_id"], ODD_ITEMS)
    users = _named(world.dataset.users["user_id"], ODD_USERS)
    (folder / "images").mkdir(parents=True)
    web.mkdir()
    pictures: list[str | None] = []
    for number, scene in enumerate(world.scenes.values()):
        kind, name = number % 4, f"{number}.png"
        place = {0: folder / "images", 1: folder / "images", 2: web}.get(kind)
        if place is not None:
            render(scene, seed * 1_000_000 + number, SIDE).save(place / name, "PNG")
        pictures.append({0: f"images/{name}", 1: f"images/{name}", 2: f"{url}/{name}"}.get(kind))
    _tables(folder, world, items, users, pictures)
    return world


def _named(ids: "pd.Series[str]", odd: tuple[str, ...]) -> dict[str, str]:
    """Numbers with leading zeros, as a database exports them; the first few are odd."""
    return {old: odd[number] if number < len(odd) else f"{number:06d}" for number, old in enumerate(ids)}


def _tables(
    folder: Path, world: World, items: dict[str, str], users: dict[str, str], pictures: list[str | None]
) -> None:
    rng = np.random.default_rng(7)
    rows = world.dataset.interactions
    clicks: Any = rows["label"].to_numpy().astype(bool)
    pd.DataFrame(
        {
            "customer": rows["user_id"].map(users),
            "item_id": rows["item_id"].map(items),
            "clicked": clicks,
            "timestamp": rows["timestamp"],
            "device": rng.choice(["phone", "desktop", "télé"], len(rows)),
            "dwell_seconds": np.where(clicks, 30.0, 1.0) + rng.random(len(rows)),
        }
    ).to_parquet(folder / "interactions.parquet", index=False)
    count = len(items)
    pd.DataFrame(
        {
            "item_id": list(items.values()),
            "image": pictures,
            "price": np.where(rng.random(count) < 0.1, np.nan, rng.lognormal(3, 1, count).round(2)),
            "article": 4_000_000_000_000 + np.arange(count),
            "vat": 0.19,
            "brand": rng.choice(["Ærø", "B & O", "c" * 200, ""], count),
            "new": rng.random(count) < 0.5,
            "ctr": rng.random(count),
        }
    ).astype({"price": pd.Float64Dtype()}).to_parquet(folder / "items.parquet", index=False)
    people = world.dataset.users
    pd.DataFrame({"user_id": people["user_id"].map(users), "segment": people["segment"]}).to_parquet(
        folder / "users.parquet", index=False
    )
    (folder / "columns.yaml").write_text(
        "interactions: {customer: user_id, clicked: label, device: context, dwell_seconds: ignore}\n"
        "items: {ctr: ignore}\n"
    )
