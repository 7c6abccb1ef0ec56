"""The identity of a question: the prompt template and the generation settings that shape an answer."""

import hashlib
import json

from models.captioner.caption import Provenance


def provenance(name: str, weights_digest: str, prompt: str, max_new_tokens: int) -> Provenance:
    """What is stored beside a caption; `weights_digest` is `source.weights_digest`'s."""
    question = json.dumps({"prompt": prompt, "max_new_tokens": max_new_tokens, "decoding": "greedy"}, sort_keys=True)
    return Provenance(
        captioner=f"{name}@{weights_digest[:12]}", prompt=hashlib.sha256(question.encode()).hexdigest()[:12]
    )
