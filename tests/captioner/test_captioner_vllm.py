"""What is asked of vLLM, against a stand-in: the engine itself needs a GPU and is not run here."""

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from models.captioner.caption import Caption
from models.captioner.errors import CaptionerLoadError
from models.captioner.presets import preset
from models.captioner.vllm import VllmCaptioner


@dataclass
class Output:
    text: str
    finish_reason: str


@dataclass
class Answer:
    outputs: list[Output]


@dataclass
class Engine:
    settings: dict[str, Any]
    calls: list[list[dict[str, Any]]] = field(default_factory=list)

    def generate(self, requests: list[dict[str, Any]], sampling: Any, use_tqdm: bool) -> list[Answer]:
        assert sampling == {"temperature": 0.0, "max_tokens": 40}
        assert not use_tqdm
        self.calls.append(requests)
        return [Answer([Output(f" {r['multi_modal_data']['image'].width} ", "stop")]) for r in requests]


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    made: list[Engine] = []
    module = ModuleType("vllm")

    def start(**settings: Any) -> Engine:
        made.append(Engine(settings))
        return made[-1]

    module.LLM = start  # type: ignore[attr-defined]
    module.SamplingParams = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    return made


def test_the_engine_is_bounded_and_asked_for_greedy_captions(engines: list[Engine]) -> None:
    tiny = preset("tiny").model_copy(update={"max_batch": 2})
    captioner = VllmCaptioner.load(tiny)
    assert engines[0].settings == {
        "model": tiny.source, "dtype": "float32", "max_model_len": tiny.max_model_len, "max_num_seqs": 2,
        "limit_mm_per_prompt": {"image": 1}, "trust_remote_code": False, "seed": 0,
    }  # fmt: skip
    captions = captioner.caption([Image.new("L", (side, side)) for side in (5, 6, 7)])
    assert captions == [Caption("5", "stop"), Caption("6", "stop"), Caption("7", "stop")]
    assert [len(call) for call in engines[0].calls] == [2, 1]
    request = engines[0].calls[0][0]
    assert request["prompt"] == tiny.prompt
    assert request["multi_modal_data"]["image"].mode == "RGB"


def test_both_engines_share_a_provenance_of_the_same_question(engines: list[Engine]) -> None:
    captioner = VllmCaptioner.load(preset("tiny"))
    assert captioner.provenance.captioner.startswith("tiny@")


def test_a_missing_vllm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(CaptionerLoadError, match="vllm: not installed"):
        VllmCaptioner.load(preset("tiny"))
