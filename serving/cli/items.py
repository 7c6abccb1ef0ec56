"""`sightline items stat`: what the item store holds, by who made its captions."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import typer

from serving.cli.context import Demo, of
from serving.cli.output import table

if TYPE_CHECKING:
    from models.contract import CaptionTokenizer
    from models.contract.cuts import CaptionCuts
    from serving.stack.layout import Layout

app = typer.Typer(no_args_is_help=True, help="Look at the item store.")
_RECIPES_TOKENS = 32
"""What recipes cut captions to unless they say otherwise."""


@dataclass(frozen=True, order=True)
class Maker:
    """Who made a caption and its tokens."""

    captioner: str
    prompt: str
    tokenizer: str


@app.command()
def stat(
    context: typer.Context,
    store: Annotated[
        str | None,
        typer.Option(
            help="A folder or redis://host:port/number; the store that `sightline up` serves from if left out."
        ),
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option(
            help="The bundle whose contract cuts captions: its folder, or an entry of a store (path, URI); "
            "the served ranker's if left out."
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Count what this many tokens would cut, instead of a bundle's.")
    ] = None,
    demo: Demo = False,
) -> None:
    """Items with and without caption, and the share of captions that lose their end, by captioner and tokenizer."""
    from models.contract.cuts import caption_cuts
    from models.contract.tokens import TokenRows
    from serving.items.uri import open_store

    given = of(context)
    limit, tokenizers = _limit(given.served(demo), bundle, max_tokens)
    tokens: defaultdict[Maker, list[npt.NDArray[np.int32]]] = defaultdict(list)
    counted: Counter[str] = Counter()
    place = store or given.served(demo).store
    given.output.say(f"item store: {place}")
    with open_store(place, os.environ, readonly=True) as opened:
        for row in opened.items():
            counted["items"] += 1
            if row.caption is None:
                counted["without_caption"] += 1
                continue
            tokens[Maker(row.caption.captioner, row.caption.prompt, row.caption.tokenizer)].append(row.caption.tokens)
    made = {}
    for maker, found in sorted(tokens.items()):
        known = tokenizers.get(maker.tokenizer)
        made[maker] = caption_cuts(TokenRows.of(found), limit, None if known is None else known.word_starts())
    counts = {"items": counted["items"], "captioned": sum(map(len, tokens.values()))}
    counts["without_caption"] = counted["without_caption"]
    document = {"store": str(place), **counts, "captions": [_document(maker, cuts) for maker, cuts in made.items()]}
    rows = [(m.captioner, m.prompt, m.tokenizer[:12], cuts.captions, *_cells(cuts)) for m, cuts in made.items()]
    columns = ("captioner", "prompt", "tokenizer", "captions", f"cut at {limit} tokens", "first word lost", "of words")
    title = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    given.output.answer(document, table(title, columns, rows))
    for maker, cuts in made.items():
        if cuts.loud:
            given.output.say(f"warning: {maker.captioner}: {cuts.warning()}")


def _limit(served: Layout, bundle: str | None, max_tokens: int | None) -> tuple[int, dict[str, CaptionTokenizer]]:
    """Where captions are cut, and the tokenizers that are at hand, by sha256."""
    from models.captioner.presets import TINY
    from models.contract import CaptionTokenizer
    from models.store.fetch import opened
    from serving.stack.services import RANKER, bundle_path

    own = CaptionTokenizer.from_file(TINY / "tokenizer.json")
    tokenizers = {own.sha256: own}
    place = bundle_path(served, RANKER)
    if bundle is None and not place.exists():
        return max_tokens or _RECIPES_TOKENS, tokenizers
    with opened(bundle or str(place)) as found:
        pieces, caption = found.tokenizer, found.contract.caption
    if pieces is not None:
        theirs = CaptionTokenizer.from_bytes(pieces)
        tokenizers[theirs.sha256] = theirs
    return max_tokens or (_RECIPES_TOKENS if caption is None else caption.max_tokens), tokenizers


def _document(maker: Maker, cuts: CaptionCuts) -> dict[str, object]:
    who = {"captioner": maker.captioner, "prompt": maker.prompt, "tokenizer": maker.tokenizer}
    return {**who, **cuts.document()}


def _cells(cuts: CaptionCuts) -> tuple[str, str, str]:
    share = f"{cuts.cut} ({cuts.share:.1%})"
    if cuts.first_lost_word is None:
        return share, "–", "–"
    low, median, high = cuts.first_lost_word
    return share, f"{median} ({low} to {high})", str(cuts.words)
