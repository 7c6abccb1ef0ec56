"""The collector over https: its clients, whom they believe, and what they say when they do not."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from serving.forgetting.collector import CollectorPlace
from serving.forgetting.place import Found, PlaceError
from serving.rollout.evidence.collector import CollectorEvidence
from serving.rollout.experiment.evidence import EvidenceError
from serving.tls import CA_FILE, believed
from serving.transformer.exposures.collector_sink import CollectorSink
from serving.transformer.exposures.sink import ExposureError, Line, SinkError
from tests.collector.book import QUERY
from tests.collector.process import TOKENS, Process, free_port


class Https(Process):
    """The process of the other tests, by https."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def collector(shown: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Https]:
    pair = ("--tls-certificate", str(shown / "tls.crt"), "--tls-key", str(shown / "tls.key"))
    process = Https(tmp_path_factory.mktemp("collector"), free_port(), pair)
    process.start()
    yield process
    assert process.end() == 0, process.log


def written(collector: Https, ca: Path | None) -> int:
    """One exposure through the transformer's sink."""
    environ = {"SIGHTLINE_COLLECTOR_TOKEN": TOKENS["exposures"]} | ({CA_FILE: str(ca)} if ca else {})
    with closing(CollectorSink(f"{collector.url}/v1/exposures", environ)) as sink:
        return sink.write([Line("an-id", 0.0, b"{}")])


def test_the_transformers_sink_reaches_it(collector: Https, shown: Path) -> None:
    with pytest.raises(SinkError, match="answers 422"):  # taken and looked at: the exposure says nothing
        written(collector, shown / "ca.crt")


@pytest.mark.parametrize("file", ["strangers", "nobody"])
def test_a_sink_that_does_not_believe_it_names_the_variable(collector: Https, strangers: Path, file: str) -> None:
    with pytest.raises(SinkError, match=rf"CERTIFICATE_VERIFY_FAILED.*set {CA_FILE} to the authority"):
        written(collector, strangers if file == "strangers" else None)


def test_a_sink_with_no_authorities_is_refused_at_its_start(collector: Https, tmp_path: Path) -> None:
    with pytest.raises(ExposureError, match=f"{CA_FILE} is .* has no certificate"):
        written(collector, tmp_path / "missing")


def test_evidence_is_asked_over_https(collector: Https, shown: Path, strangers: Path) -> None:
    good = CollectorEvidence(collector.url, token=TOKENS["evidence"], verify=believed({CA_FILE: str(shown / "ca.crt")}))
    assert good.evidence(QUERY).exposed.keys() == set(QUERY.arms)
    bad = CollectorEvidence(collector.url, token=TOKENS["evidence"], verify=believed({CA_FILE: str(strangers)}))
    with pytest.raises(EvidenceError, match=f"set {CA_FILE} to the authority"):
        bad.evidence(QUERY)
    good.close()
    bad.close()


def test_a_person_is_looked_for_over_https(collector: Https, shown: Path, strangers: Path) -> None:
    """`sightline user find` and `forget`."""
    environ = {"SIGHTLINE_COLLECTOR_TOKEN": TOKENS["forget"]}
    found = CollectorPlace(collector.url, {**environ, CA_FILE: str(shown / "ca.crt")}).find(["u1"])
    assert found == Found({"exposures": 0, "outcomes": 0})
    with pytest.raises(PlaceError, match=f"set {CA_FILE} to the authority"):
        CollectorPlace(collector.url, {**environ, CA_FILE: str(strangers)}).find(["u1"])


def test_what_is_refused_before_the_application_is_answered_over_tls_too(collector: Https, shown: Path) -> None:
    """TLS has no half-closed connections, which that answer once relied upon."""
    with httpx.Client(verify=believed({CA_FILE: str(shown / "ca.crt")}), trust_env=False) as client:
        answer = client.get(f"{collector.url}/health/ready", headers={"x": "a" * 50_000})
    assert answer.status_code == 431
    assert "Traceback" not in collector.log


def test_a_caller_without_tls_gets_nothing(collector: Https) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{collector.port}/health/ready", trust_env=False)
