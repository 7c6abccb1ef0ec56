"""`sightline contract show|diff|report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from models.local_path import is_uri
from serving.cli.context import Context, Demo, of
from serving.cli.output import table
from serving.stack.errors import StackError

if TYPE_CHECKING:
    from models.contract import Contract, DenseFeature
    from models.contract.report import CollisionReport

app = typer.Typer(no_args_is_help=True, help="Look at feature contracts: show, diff, report.")

Place = Annotated[str, typer.Argument(help="A contract.json, or a bundle: its folder or an entry of a store.")]
ServedPlace = Annotated[
    str | None,
    typer.Argument(
        help="A contract.json, or a bundle: its folder or an entry of a store; the served ranker's if left out."
    ),
]


@app.command()
def show(
    context: typer.Context,
    place: ServedPlace = None,
    demo: Demo = False,
) -> None:
    """Show what a ranker eats: digest, tensors, features."""
    given = of(context)
    contract = read(place or _served(given, demo))
    rows: list[Sequence[object]] = [
        (f.name, f.source, "dense", f"{f.transform}, mean {f.mean:g}, std {f.std:g}{_clipped(f)}")
        for f in contract.dense
    ]
    rows += [(f.name, f.source, f.encoding.kind, f"{f.buckets} buckets") for f in contract.categorical]
    if contract.caption is not None:
        caption = contract.caption
        words = f"{caption.max_tokens} tokens, {caption.width} columns, tables {list(caption.table_sizes)}"
        rows.append(("caption", "item", caption.encoder.kind, words))
    shown = table(f"{contract.name} v{contract.version}  {contract.digest}", ("feature", "source", "kind", "how"), rows)
    given.output.answer(orjson.loads(contract.to_json()), shown)


@app.command()
def diff(context: typer.Context, old: Place, new: Place) -> None:
    """Tell two contracts apart; exit code 1 when the version should have been raised and was not."""
    from models.contract import VersionBumpError, check_bump, differences

    given = of(context)
    before, after = read(old), read(new)
    changes = differences(before, after)
    try:
        check_bump(before, after)
        verdict, good = "the version is right", True
    except VersionBumpError as error:
        verdict, good = str(error), False
    rows = [(change.path, change.words, "yes" if change.encoded else "no") for change in changes]
    document = {"changes": [asdict(change) for change in changes], "version_ok": good, "verdict": verdict}
    given.output.answer(document, table("Changes" if rows else "No change", ("path", "what", "encoded"), rows))
    given.output.say(verdict)
    if not good:
        raise typer.Exit(1)


@app.command()
def report(
    context: typer.Context,
    bundle: Annotated[
        str | None,
        typer.Argument(help="A bundle's folder, or an entry of a store (path, URI); the served ranker's if left out."),
    ] = None,
    demo: Demo = False,
) -> None:
    """Collisions and bucket load of every encoder on the captions of the item store."""
    from models.contract import CaptionTokenizer, HashEncoder, IdentityEncoder, MultiHashEncoder, QREncoder
    from models.contract.report import caption_report
    from models.store.fetch import opened

    given = of(context)
    place = bundle or _served(given, demo)
    with opened(place) as found:
        feature, pieces = found.contract.caption, found.tokenizer
    if feature is None or pieces is None:
        raise StackError(f"{place} has no caption feature; give the bundle of a ranker with captions")
    tokenizer = CaptionTokenizer.from_bytes(pieces, feature.tokenizer_sha256)
    tokens = tokenizer.encode(_captions(given, demo))
    size = tokenizer.vocabulary_size
    others = (
        IdentityEncoder(vocabulary_size=size),
        HashEncoder(buckets=2 * size, seed=0, max_ngram=1),
        MultiHashEncoder(buckets=2 * size, seeds=(0, 1)),
        QREncoder(vocabulary_size=size, divisor=max(2, round(size**0.5))),
    )
    reports = [("in use", caption_report(feature, tokens))]
    reports += [("alternative", caption_report(feature, tokens, encoder)) for encoder in others]
    rows = [_row(note, each) for note, each in reports]
    columns = ("encoder", "", "values", "collide", "by chance", "occurrences hit", "buckets used", "most in one")
    given.output.answer([{"note": note, **asdict(each)} for note, each in reports], table("Encoders", columns, rows))


def read(place: str) -> Contract:
    """The contract in a file, or of a bundle (whose files are all verified), here or in a store.

    Raises:
        StackError: there is nothing at the path.
        BundleError, ContractError, ModelStoreError: what is there is broken, or cannot be fetched.
    """
    from models.contract import Contract
    from models.store.fetch import opened

    if is_uri(place) or Path(place).is_dir():
        with opened(place) as bundle:
            return bundle.contract
    try:
        return Contract.from_json(Path(place).read_bytes())
    except OSError as error:
        raise StackError(
            f"{place}: cannot be read ({error.strerror}); give a contract.json or a bundle's folder"
        ) from error


def _served(given: Context, demo: bool) -> str:
    """The bundle of the ranker that `sightline up` serves, which is said."""
    from serving.stack.services import RANKER, bundle_path

    place = bundle_path(given.served(demo), RANKER)
    given.output.say(f"bundle: {place}")
    return str(place)


def _captions(given: Context, demo: bool) -> list[str]:
    from serving.items.lmdb_store import LmdbStore

    place = given.served(demo).store
    given.output.say(f"item store: {place}")
    with LmdbStore.open(place, readonly=True) as store:
        return [row.caption.text for row in store.items() if row.caption is not None]


def _row(note: str, report: CollisionReport) -> tuple[object, ...]:
    used = ", ".join(f"{load.used}/{load.buckets}" for load in report.tables)
    most = max(load.most_values for load in report.tables)
    percent = [report.collision_rate, report.collision_rate_expected, report.occurrences_affected]
    return (report.encoder, note, report.distinct, *(f"{value:.2%}" for value in percent), used, most)


def _clipped(feature: DenseFeature) -> str:
    """The bounds in words; nothing where a contract of format 1 has none."""
    if feature.low is None and feature.high is None:
        return ""
    low = "-inf" if feature.low is None else f"{feature.low:g}"
    high = "inf" if feature.high is None else f"{feature.high:g}"
    return f", clipped to {low}..{high}"
