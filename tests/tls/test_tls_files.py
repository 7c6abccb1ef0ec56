"""Authorities and certificates that cannot be used are refused with the setting's name, before anything listens."""

from pathlib import Path

import pytest
from authority import Authority

from serving.captioner.settings import SettingsError as CaptionerSettingsError
from serving.captioner.settings import read_machine
from serving.ranker.settings import SettingsError, read_settings
from serving.rollout.collector.settings import read_settings as read_collector
from serving.tls import CA_FILE, TlsError, believed
from serving.transformer.settings import read_settings as read_transformer

RANKER = ("--bundle=/bundle",)


def pair(folder: Path) -> tuple[str, str]:
    return f"--tls-certificate={folder / 'tls.crt'}", f"--tls-key={folder / 'tls.key'}"


def test_a_certificate_and_its_key_are_taken(shown: Path) -> None:
    settings = read_settings([*RANKER, *pair(shown)], {})
    assert settings.certificate == (shown / "tls.crt", shown / "tls.key")
    assert read_collector(["--database=/data", *pair(shown)], {}).certificate == settings.certificate
    assert read_settings(RANKER, {}).certificate is None


@pytest.mark.parametrize("left", [0, 1])
def test_one_without_the_other_is_refused(shown: Path, left: int) -> None:
    with pytest.raises(SettingsError, match=r"tls_(certificate|key): tls_(certificate|key) is missing.* give both"):
        read_settings([*RANKER, pair(shown)[left]], {})
    with pytest.raises(SettingsError, match="give both"):
        read_collector(["--database=/data", pair(shown)[left]], {})
    name = ("tls_certificate", "tls_key")[left]
    with pytest.raises(CaptionerSettingsError, match="give both"):
        read_machine({}, {name: str(shown / ("tls.crt", "tls.key")[left])})


def test_a_key_of_another_certificate_is_refused(authority: Authority, shown: Path, tmp_path: Path) -> None:
    other = authority.write(tmp_path / "other", "127.0.0.1")
    words = [pair(shown)[0], pair(other)[1]]
    with pytest.raises(SettingsError, match=r"tls_certificate, tls_key: .* cannot be used .*mismatch"):
        read_settings([*RANKER, *words], {})


@pytest.mark.parametrize("text", [None, "", "no PEM"])
def test_authorities_that_are_none_are_refused(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ca.crt"
    if text is not None:
        file.write_text(text)
    with pytest.raises(TlsError, match=rf"{CA_FILE} is {file}, which has no certificate"):
        believed({CA_FILE: str(file)})
    words = ["--bundle=/bundle", "--store=/store", "--predictor_host=triton:9000", f"--predictor_ca_file={file}"]
    with pytest.raises(SettingsError, match=rf"predictor_ca_file.* {file}, which has no certificate"):
        read_transformer(words, {})


def test_a_name_without_tls_is_refused() -> None:
    words = ["--bundle=/bundle", "--store=/store", "--predictor_host=triton:9000", "--predictor_tls_name=triton"]
    with pytest.raises(SettingsError, match="predictor_tls_name is 'triton', and Triton is asked without TLS"):
        read_transformer(words, {})
