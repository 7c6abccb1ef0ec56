"""Rank over gRPC what rank-v2.json asks: python manifests/samples/rank_grpc.py [host:port] [model]

Needs `pip install "tritonclient[grpc]"`; in a cluster first: kubectl port-forward service/sightline-transformer 8081
"""

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton


def main(target: str = "127.0.0.1:8081", model: str = "ranker") -> None:
    asked = json.loads(Path(__file__).with_name("rank-v2.json").read_text())["inputs"]
    inputs = []
    for tensor in asked:
        inputs.append(triton.InferInput(tensor["name"], tensor["shape"], tensor["datatype"]))
        inputs[-1].set_data_from_numpy(np.array([value.encode() for value in tensor["data"]], dtype=np.object_))
    items = next(tensor["data"] for tensor in asked if tensor["name"] == "item_id")
    with triton.InferenceServerClient(target) as client:
        answer = client.infer(model, inputs, client_timeout=10)
    scores, captions = answer.as_numpy("score"), answer.as_numpy("caption_known")
    for position in answer.as_numpy("order"):
        known = "with caption" if captions[position] else "without caption"
        print(f"{items[position]:<12} {scores[position]:.6f}  {known}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
