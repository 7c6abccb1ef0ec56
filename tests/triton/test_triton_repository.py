"""The repository: versions that are whole, one config for all of them, and no mixture of contracts."""

import re
from dataclasses import replace

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from models.contract import Contract, MultiHashEncoder
from models.triton import repository as module
from models.triton.config import TritonSettings, config_text
from models.triton.repository import RepositoryError, config_parameters, place_model, versions


@pytest.fixture(scope="session")
def other(bundled, tmp_path_factory):
    """A bundle of another version of the contract: the same file, as far as a repository sees it."""
    bundle = bundled[1]
    contract = Contract(**{**dict(bundle.contract), "version": 2})
    return replace(bundle, contract=contract)


def parsed(folder):
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


@pytest.mark.parametrize("platform", ["onnxruntime", "python"])
def test_the_config_is_valid_text_of_tritons_own_schema(bundled, tmp_path, platform):
    bundle = bundled[1]
    place_model(tmp_path, "ranker", bundle, platform=platform)
    config = parsed(tmp_path / "ranker")
    assert config.name == "ranker"
    assert config.backend == platform
    assert config.platform == ("onnxruntime_onnx" if platform == "onnxruntime" else "")
    assert config.max_batch_size == 4096
    assert [(tensor.name, list(tensor.dims)) for tensor in config.input] == [
        (tensor.name, list(tensor.shape[1:])) for tensor in bundle.contract.tensors
    ]
    (output,) = config.output
    assert (output.name, list(output.dims)) == ("score", [1])
    assert output.HasField("reshape") == (platform == "onnxruntime")
    assert list(output.reshape.shape) == []
    assert config.dynamic_batching.max_queue_delay_microseconds == 100
    policy = config.dynamic_batching.default_queue_policy
    assert (policy.timeout_action, policy.default_timeout_microseconds, policy.max_queue_size) == (0, 1_000_000, 1024)
    assert [warmup.batch_size for warmup in config.model_warmup] == [1, 512, 1024, 2048]
    assert config.parameters["contract_digest"].string_value == bundle.contract.digest
    assert config.parameters["bundle"].string_value == bundle.id


def test_captions_of_several_parts_keep_their_third_axis(bundled):
    contract = bundled[1].contract
    caption = contract.caption.model_copy(update={"encoder": MultiHashEncoder(buckets=20, seeds=(1, 2))})
    made = Contract(**{**dict(contract), "caption": caption})
    config = text_format.Parse(
        config_text("r", made, TritonSettings(), bundle="b", onnx_sha256={1: "x"}), model_config_pb2.ModelConfig()
    )
    assert list(config.input[2].dims) == [8, 2]


def test_every_setting_reaches_the_config(bundled, tmp_path):
    settings = TritonSettings(
        instances=3,
        device="gpu",
        intra_op_threads=5,
        preferred_rows=(7,),
        max_queue_delay_us=11,
        queue_timeout_us=13,
        max_queue_size=17,
    )
    place_model(tmp_path, "ranker", bundled[1], platform="onnxruntime", settings=settings)
    config = parsed(tmp_path / "ranker")
    assert (config.instance_group[0].count, config.instance_group[0].kind) == (
        3,
        model_config_pb2.ModelInstanceGroup.KIND_GPU,
    )
    assert config.parameters["intra_op_thread_count"].string_value == "5"
    assert list(config.dynamic_batching.preferred_batch_size) == [7]
    assert config.dynamic_batching.max_queue_delay_microseconds == 11
    policy = config.dynamic_batching.default_queue_policy
    assert (policy.default_timeout_microseconds, policy.max_queue_size) == (13, 17)


def test_versions_count_up_and_only_the_newest_are_kept(bundled, tmp_path):
    bundle = bundled[1]
    assert [place_model(tmp_path, "ranker", bundle, platform="python") for _ in range(3)] == [1, 2, 3]
    assert place_model(tmp_path, "ranker", bundle, platform="python", keep=2) == 4
    assert versions(tmp_path / "ranker") == [3, 4]
    assert sorted(each.name for each in (tmp_path / "ranker").iterdir()) == ["3", "4", "config.pbtxt"]
    assert sorted(each.name for each in (tmp_path / "ranker" / "4").iterdir()) == ["model.onnx", "model.py"]
    assert (tmp_path / "ranker" / "4" / "model.onnx").read_bytes() == bundle.onnx_path.read_bytes()


def test_the_native_platform_needs_no_model_py(bundled, tmp_path):
    place_model(tmp_path, "ranker", bundled[1], platform="onnxruntime")
    assert [each.name for each in (tmp_path / "ranker" / "1").iterdir()] == ["model.onnx"]


def test_the_config_has_the_digest_of_every_version(bundled, tmp_path):
    bundle = bundled[1]
    for _ in range(2):
        place_model(tmp_path, "ranker", bundle, platform="python")
    found = config_parameters(tmp_path / "ranker")
    assert found["onnx_sha256_1"] == found["onnx_sha256_2"] == bundle.manifest.files["model.onnx"].sha256


def test_a_bundle_of_another_contract_is_refused_naming_both_digests(bundled, other, tmp_path):
    place_model(tmp_path, "ranker", bundled[1], platform="python")
    with pytest.raises(RepositoryError) as caught:
        place_model(tmp_path, "ranker", other, platform="python")
    assert bundled[1].contract.digest in str(caught.value)
    assert other.contract.digest in str(caught.value)
    assert versions(tmp_path / "ranker") == [1]


def test_replacing_takes_the_other_contract_and_removes_the_versions_of_the_old_one(bundled, other, tmp_path):
    for _ in range(2):
        place_model(tmp_path, "ranker", bundled[1], platform="python", keep=2, replace=True)
    assert versions(tmp_path / "ranker") == [1, 2]
    assert place_model(tmp_path, "ranker", other, platform="python", keep=2, replace=True) == 3
    assert versions(tmp_path / "ranker") == [3]
    assert config_parameters(tmp_path / "ranker")["contract_digest"] == other.contract.digest


def test_a_crash_while_placing_leaves_the_versions_that_were_there(bundled, tmp_path, monkeypatch):
    place_model(tmp_path, "ranker", bundled[1], platform="python")

    def crash(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.shutil, "copyfile", crash)
    with pytest.raises(OSError, match="No space left"):
        place_model(tmp_path, "ranker", bundled[1], platform="python")
    assert versions(tmp_path / "ranker") == [1]
    assert "onnx_sha256_1" in config_parameters(tmp_path / "ranker")
    monkeypatch.undo()
    assert place_model(tmp_path, "ranker", bundled[1], platform="python") == 2


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "x" * 64])
def test_a_name_that_triton_cannot_use_is_refused(bundled, tmp_path, name):
    with pytest.raises(RepositoryError, match=re.escape(f"model name {name!r}")):
        place_model(tmp_path, name, bundled[1])


def test_keeping_nothing_is_refused(bundled, tmp_path):
    with pytest.raises(RepositoryError, match="keep=0: expected at least 1"):
        place_model(tmp_path, "ranker", bundled[1], keep=0)


def test_a_version_without_a_model_is_refused_by_its_path(bundled, tmp_path):
    place_model(tmp_path, "ranker", bundled[1])
    (tmp_path / "ranker" / "1" / "model.onnx").unlink()
    with pytest.raises(RepositoryError, match=r"1/model\.onnx is missing"):
        place_model(tmp_path, "ranker", bundled[1])
