"""What the ranker's container may be told, and how it refuses the rest."""

import re
from pathlib import Path

import pytest

from models.bundle import Provenance, UnfitError, write_bundle
from serving.ranker.placing import repository
from serving.ranker.settings import Settings, SettingsError, read_settings

README = Path(__file__).parents[2] / "serving" / "ranker" / "README.md"


def test_a_bundle_alone_is_enough():
    settings = read_settings(["--bundle", "/bundles/ranker"], {})
    assert settings.bundles == {"ranker": Path("/bundles/ranker")}
    assert settings.ports == {"grpc_port": 9000, "http_port": 8080, "metrics_port": 8002}
    assert (settings.host, settings.work_dir, settings.exit_timeout_seconds) == ("0.0.0.0", Path("/tmp/ranker"), 20)


def test_more_bundles_get_names_of_their_own():
    settings = read_settings(["--bundle=/a", "--also", "ids=/b", "--also", "old=/c", "--model-name=main"], {})
    assert settings.bundles == {"main": Path("/a"), "ids": Path("/b"), "old": Path("/c")}


def test_the_environment_gives_settings_and_arguments_win():
    environment = {
        "SIGHTLINE_RANKER_BUNDLE": "/a",
        "SIGHTLINE_RANKER_ALSO": "ids=/b",
        "SIGHTLINE_RANKER_INSTANCES": "3",
    }
    settings = read_settings(["--instances", "2"], environment)
    assert settings.bundles == {"ranker": Path("/a"), "ids": Path("/b")}
    assert settings.instances == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "bundle, repository: neither given; expected one of"),
        (["--bundle=/a", "--repository=/b"], "bundle, repository: both given; expected one of"),
        (["--repository=/b", "--instances=2", "--model-name=x"], "model_name, instances: does nothing beside"),
        (["--bundle=/a", "--also=ids"], "also: is 'ids'; expected NAME=FOLDER"),
        (["--bundle=/a", "--also=ranker=/b"], "model 'ranker' is named twice"),
        (
            ["--bundle=/a", "--http-port=9000"],
            "grpc_port 9000, http_port 9000, metrics_port 8002: expected three ports",
        ),
        (["--bundle=/a", "--model-name=../x"], "model_name: is '../x'"),
        (["--bundle=s3://b/x"], "bundle: 's3://b/x' is a URI; expected a path of this machine"),
        (["--bundle=/a", "--also=ids=s3://b/x"], "also.0.1: 's3://b/x' is a URI"),
        (["--bundle=/a", "--device=tpu"], "device: is 'tpu'"),
        (["--bundle=/a", "--instances=0"], "instances: is '0'"),
    ],
)
def test_settings_that_cannot_be_used_are_named(arguments, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        read_settings(arguments, {})


def test_all_faults_are_told_at_once():
    with pytest.raises(SettingsError) as refused:
        read_settings(["--bundle=/a", "--instances=0", "--grpc-port=70000"], {})
    assert "instances" in str(refused.value)
    assert "grpc_port" in str(refused.value)


def test_an_unknown_variable_is_refused():
    with pytest.raises(SettingsError, match="SIGHTLINE_RANKER_BUNDEL: there is no setting 'bundel'"):
        read_settings(["--bundle=/a"], {"SIGHTLINE_RANKER_BUNDEL": "/b"})


def test_the_readme_lists_every_setting_with_its_default():
    rows = [
        f"| `--{name.replace('_', '-')}` | `{field.default}` | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    assert len(rows) > 10
    assert [row for row in rows if row not in README.read_text()] == []


def test_a_ranker_that_must_not_be_served_is_placed_by_force_alone(bundle, tmp_path):
    reason = "the ranker is far below the item mean: AUC 0.4 against 0.7 [-0.4, -0.2]"
    unfit = write_bundle(
        tmp_path / "unfit",
        onnx_path=bundle.onnx_path,
        contract=bundle.contract,
        tokenizer=bundle.tokenizer,
        metrics={"unfit": reason},
        provenance=Provenance(**bundle.manifest.model_dump(include=set(Provenance.model_fields))),
    )
    given = [f"--bundle={unfit.path}", f"--work-dir={tmp_path / 'work'}"]
    says = f"{unfit.path}: {reason}; look at the columns and the recipe and train again, or serve it all the same: "
    says += "--force true, or SIGHTLINE_RANKER_FORCE=true (chart: model.force)"
    with pytest.raises(UnfitError, match=f"^{re.escape(says)}$"):
        repository(read_settings(given, {}))
    assert not list((tmp_path / "work").rglob("*.onnx"))
    for more, environment in ((["--force", "true"], {}), ([], {"SIGHTLINE_RANKER_FORCE": "true"})):
        placed = repository(read_settings([*given, *more], environment))
        assert (placed / "ranker" / "1" / "model.onnx").read_bytes() == bundle.onnx_path.read_bytes()
