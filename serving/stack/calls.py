"""The calls that repeat a ranking, as text to paste: what the demo prints and the tests run."""

import json
import shlex
import textwrap

from serving.stack.ask import Question


def curl(address: str, model: str, question: Question) -> str:
    """V1 over REST with curl."""
    body = shlex.quote(json.dumps(question.v1()))
    return f"curl -s http://{address}/v1/models/{model}:predict -H 'content-type: application/json' \\\n  -d {body}"


def python(address: str, model: str, question: Question) -> str:
    """The Open Inference Protocol over gRPC with tritonclient, as a program."""
    return textwrap.dedent(
        f"""\
        import numpy as np
        import tritonclient.grpc as triton

        def strings(name, values):
            tensor = triton.InferInput(name, [len(values)], "BYTES")
            tensor.set_data_from_numpy(np.array([value.encode() for value in values], dtype=np.object_))
            return tensor

        items = {json.dumps(list(question.items), ensure_ascii=False)}
        answer = triton.InferenceServerClient("{address}").infer("{model}", [
            strings("user_id", [{json.dumps(question.user_id, ensure_ascii=False)}]),
            strings("item_id", items),
            strings("context", [{json.dumps(dict(question.context))!r}]),
        ])
        scores = answer.as_numpy("score")
        for place in answer.as_numpy("order"):
            print(items[place], scores[place])
        """
    )
