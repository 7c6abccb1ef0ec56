"""Bundles that are whole and rank nothing: what decides is beside the model."""

from pathlib import Path

import onnx

from models.bundle import Bundle, Provenance, write_bundle
from models.contract import CategoricalFeature, Contract, HashBuckets
from models.export.metadata import CONTRACT_DIGEST


def tiny_bundle(folder: Path, *, digest: str = "sha256:" + "1" * 64, unfit: str | None = None) -> Bundle:
    field = CategoricalFeature(name="item_id", source="item", encoding=HashBuckets(buckets=30))
    contract = Contract(name="tiny", version=1, categorical=(field,))
    model = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []), doc_string=folder.name)
    onnx.helper.set_model_props(model, {CONTRACT_DIGEST: contract.digest})
    folder.parent.mkdir(parents=True, exist_ok=True)
    exported = folder.parent / f".{folder.name}.onnx"
    exported.write_bytes(model.SerializeToString())
    created = "2026-11-22T20:00:00+00:00"
    try:
        return write_bundle(
            folder,
            onnx_path=exported,
            contract=contract,
            tokenizer=None,
            metrics={"unfit": unfit},
            provenance=Provenance(name=folder.name, created=created, git_revision="unknown", data_digest=digest),
        )
    finally:
        exported.unlink()
