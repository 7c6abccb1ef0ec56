from __future__ import annotations

import pytest

from serving.captioner.settings import (
    CaptionerSettings,
    MachineSettings,
    SettingsError,
    read_machine,
    read_settings,
)

MIB = 1024 * 1024


def test_the_promised_defaults() -> None:
    assert read_settings({}, {}).model_dump() == {
        "preset": "tiny",
        "revision": "",
        "weights": "",
        "max_batch_size": 64,
        "batch_wait_s": 0.01,
        "min_replicas": 1,
        "max_replicas": 1,
        "target_ongoing_requests": 2.0,
        "max_ongoing_requests": 64,
        "max_queued_requests": 64,
        "model_cpus": 1.0,
        "model_gpus": 0.0,
        "ingress_replicas": 1,
        "ingress_cpus": 1.0,
        "decode_threads": 2,
        "max_decode_bytes": 384 * MIB,
        "max_requests": 64,
        "max_held_bytes": 256 * MIB,
        "max_held_images": 256,
        "request_timeout_s": 120.0,
        "body_timeout_s": 30.0,
        "batch_timeout_s": 300.0,
        "retry_after_s": 1,
        "shutdown_s": 10.0,
        "max_request_bytes": 64 * MIB,
        "max_image_bytes": 20 * MIB,
        "max_images": 64,
        "max_pixels": 50_000_000,
        "max_aspect_ratio": 20.0,
        "max_side": 672,
        "min_side": 16,
        "formats": ("PNG", "JPEG", "WEBP", "GIF", "BMP"),
        "allow_urls": False,
        "url_hosts": (),
        "url_allow_private": False,
        "url_timeout_s": 10.0,
    }
    assert read_machine({}, {}).model_dump() == {
        "host": "127.0.0.1",
        "port": 8001,
        "max_connections": 1000,
        "temp_dir": None,
        "object_store_bytes": 128 * MIB,
        "tls_certificate": None,
        "tls_key": None,
    }


def test_every_setting_is_described() -> None:
    fields = {**CaptionerSettings.model_fields, **MachineSettings.model_fields}
    assert len(fields) == 43
    assert [name for name, field in fields.items() if not field.description] == []


def test_an_argument_beats_the_environment_and_the_environment_beats_the_default() -> None:
    environ = {"SIGHTLINE_CAPTIONER_MAX_IMAGES": "7", "SIGHTLINE_CAPTIONER_MAX_SIDE": "100", "HOME": "/"}
    settings = read_settings(environ, {"max_images": 9})
    assert (settings.max_images, settings.max_side, settings.max_batch_size) == (9, 100, 64)


def test_lists_are_separated_by_commas_and_switches_are_words() -> None:
    environ = {
        "SIGHTLINE_CAPTIONER_FORMATS": "PNG, TIFF",
        "SIGHTLINE_CAPTIONER_ALLOW_URLS": "true",
        "SIGHTLINE_CAPTIONER_URL_HOSTS": "images.example.org",
    }
    settings = read_settings(environ, {})
    assert settings.formats == ("PNG", "TIFF")
    assert (settings.allow_urls, settings.url_hosts) == (True, ("images.example.org",))


def test_the_two_kinds_of_settings_share_one_prefix() -> None:
    environ = {"SIGHTLINE_CAPTIONER_PORT": "9000", "SIGHTLINE_CAPTIONER_PRESET": "llava-7b"}
    assert read_machine(environ, {}).port == 9000
    assert read_settings(environ, {}).preset == "llava-7b"


@pytest.mark.parametrize("args", [{"max_imges": 3}, {"port": 3}])
def test_an_unknown_argument_is_refused_by_name(args: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=next(iter(args))):
        read_settings({}, args)


def test_an_unknown_variable_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="SIGHTLINE_CAPTIONER_MAX_IMGES"):
        read_settings({"SIGHTLINE_CAPTIONER_MAX_IMGES": "3"}, {})


def test_all_faults_are_reported_at_once_with_their_values() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({}, {"max_images": 0, "formats": "PNG,SVG", "batch_wait_s": "soon"})
    for part in ("max_images", "got 0", "formats", "SVG", "batch_wait_s", "soon"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("args", "part"),
    [
        ({"min_replicas": 3, "max_replicas": 2}, "max_replicas 2 is below min_replicas 3"),
        ({"allow_urls": True}, "url_hosts is empty"),
        ({"url_hosts": "a.example"}, "set allow_urls"),
        ({"max_held_images": 63}, "room for one request"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(args: dict[str, object], part: str) -> None:
    with pytest.raises(SettingsError, match=part):
        read_settings({}, args)
