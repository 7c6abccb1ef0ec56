"""What a ranker says of every persona and item: a table, so that hundreds of experiments need no server.

The scores are those of the bundle's ONNX file under ONNX Runtime, fed by the contract's own encoder. Triton and the
transformer give the same ones within 1e-5 (a test of the stack compares), and the stories that are told with real
servers ask them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime

from models.bundle import Bundle
from models.contract import CaptionTokenizer, FeatureEncoder
from serving.replay.catalogue import Catalogue
from training.demo.world import SEGMENTS

Float32s = npt.NDArray[np.float32]

CONTEXT = {"hour": 20, "weekday": 5}
"""The context of every ranking: that of the demo's request."""
PERSONAS = 400


def persona_id(number: int) -> str:
    """The user id that a persona is ranked for."""
    return f"p{number:04d}"


def score_table(bundle: Bundle, catalogue: Catalogue) -> Float32s:
    """Scores float32 [PERSONAS, items]."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(bundle.onnx_path, options, providers=["CPUExecutionProvider"])
    encoder, tokens = FeatureEncoder(bundle.contract), None
    if bundle.tokenizer is not None:
        tokens = CaptionTokenizer.from_bytes(bundle.tokenizer).encode(list(catalogue.captions))
    rows = [_row(session, encoder, catalogue, tokens, persona) for persona in range(PERSONAS)]
    return np.stack(rows)


def _row(
    session: onnxruntime.InferenceSession,
    encoder: FeatureEncoder,
    catalogue: Catalogue,
    tokens: list[npt.NDArray[np.int32]] | None,
    persona: int,
) -> Float32s:
    count = len(catalogue.ids)
    columns: dict[str, list[object]] = {
        "user_id": [persona_id(persona)] * count,
        "segment": [SEGMENTS[persona % len(SEGMENTS)]] * count,
        "item_id": list(catalogue.ids),
        **{name: [value] * count for name, value in CONTEXT.items()},
    }
    (scores,) = session.run(["score"], encoder.encode(columns, tokens))
    return np.asarray(scores, dtype=np.float32).reshape(count)
