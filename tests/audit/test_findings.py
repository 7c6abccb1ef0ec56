"""What `make audit` makes of its programs' answers; the programs themselves run in `make audit`."""

import json

import pytest

from charts.tooling.audit.advisories import read
from charts.tooling.audit.findings import Acceptance, Finding, accepted, judge, of_checkov
from charts.tooling.audit.profiles import NAMESPACE, operators_pods, write
from charts.tooling.render import parse

ROOT_FOUND = Finding("CKV_K8S_23", "Deployment.sightline.sightline-ranker", "root", "values")


def report(failed=(), passed=7, errors=()):
    return {"summary": {"passed": passed}, "results": {"failed_checks": list(failed), "parsing_errors": list(errors)}}


def failed(check, resource):
    return {"check_id": check, "resource": resource, "check_name": "what", "file_path": "/values-gpu.yaml"}


def test_a_finding_that_nobody_accepted_is_new_and_an_acceptance_without_a_finding_is_told():
    known = [Acceptance(check="CKV_K8S_23", at=("StatefulSet.*",), reason="the reason of the acceptance")]
    assert judge([ROOT_FOUND], known) == ([ROOT_FOUND], ["CKV_K8S_23 at StatefulSet.*"])


def test_an_accepted_finding_is_neither_new_nor_unused():
    known = [Acceptance(check="CKV_K8S_23", at=("Deployment.*-ranker",), reason="the reason of the acceptance")]
    assert judge([ROOT_FOUND], known) == ([], [])


def test_the_acceptance_of_one_check_covers_no_other():
    known = [Acceptance(check="CKV_K8S_2", at=("*",), reason="the reason of the acceptance")]
    assert judge([ROOT_FOUND], known)[0] == [ROOT_FOUND]


def test_every_acceptance_has_its_reason():
    known = accepted()
    assert len(known) >= 8
    assert all(len(entry.reason.split()) > 5 for entry in known)


def test_an_acceptance_without_a_reason_is_refused(tmp_path):
    (tmp_path / "accepted.yaml").write_text("- {check: CKV_K8S_1, at: ['*'], reason: ''}\n")
    with pytest.raises(ValueError, match="reason"):
        accepted(tmp_path / "accepted.yaml")


@pytest.mark.parametrize("several", [False, True])
def test_checkovs_report_is_read_for_one_framework_and_for_several(several):
    one = report([failed("CKV_K8S_8", "Pod.a.b")])
    assert of_checkov(json.dumps([one, report(passed=1)] if several else one)) == (
        8 if several else 7,
        [Finding("CKV_K8S_8", "Pod.a.b", "what", "values-gpu")],
    )


def test_a_file_that_checkov_could_not_read_is_no_success():
    with pytest.raises(ValueError, match=r"/values\.yaml"):
        of_checkov(json.dumps(report(errors=["/values.yaml"])))


def test_a_package_that_the_service_does_not_answer_for_is_not_called_sound():
    answer = read(
        json.dumps(
            {
                "dependencies": [
                    {"name": "alpha", "skip_reason": "not found"},
                    {"name": "beta", "version": "1", "vulns": []},
                    {"name": "gamma", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]},
                ]
            }
        )
    )
    assert (answer.asked, answer.unknown) == (2, ("alpha",))
    assert answer.known == ("CVE-1 in gamma 2, mended in 3",)


def test_what_operators_make_is_audited_as_pods_and_everything_has_a_namespace(tmp_path):
    names = write(tmp_path)
    assert {"values", "values-gpu", "values-kind", "values-production", "everything"} == set(names)
    objects = {name: parse((tmp_path / f"{name}.yaml").read_text()) for name in names}
    assert all(each["metadata"]["namespace"] == NAMESPACE for found in objects.values() for each in found)
    pods = {each["metadata"]["name"] for each in objects["values-production"] if each["kind"] == "Pod"}
    assert {"inferenceservice-sightline-ranker-predictor", "inferenceservice-sightline-ranker-transformer"} <= pods
    assert "rayservice-sightline-captioner-head" in pods
    assert sum(name.startswith("rayservice-") for name in pods) == 3
    assert not operators_pods(objects["values"])
