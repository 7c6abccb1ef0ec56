"""The deployments without a cluster: what they are configured to be, and how a replica judges its health."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from serving.captioner.local_ray import RayDiedError, check_ray
from serving.captioner.settings import CaptionerSettings, SettingsError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing Ray uses what pydantic has deprecated
    from serving.captioner.app import INGRESS, MODEL, CaptionModel, UnhealthyError, application, build


@dataclass
class Said:
    text: str = "a scene"
    finish: str = "stop"


@dataclass
class Provenance:
    captioner: str = "fake@1"
    prompt: str = "p"


class Switch:
    """A captioner that works while `works` is True."""

    def __init__(self) -> None:
        self.works = True
        self.provenance = Provenance()

    def caption(self, images: Sequence[Image.Image]) -> list[Any]:
        if not self.works:
            raise RuntimeError("the device is lost")
        return [Said() for _ in images]


def replica(captioner: Switch, batch_timeout_s: float = 60.0) -> CaptionModel:
    model = CaptionModel(lambda: captioner, batch_timeout_s, one_machine=False)  # type: ignore[arg-type, return-value]
    model.reconfigure({"max_batch_size": 4, "batch_wait_s": 0.0})
    return model


def fail_once(model: CaptionModel, captioner: Switch) -> None:
    captioner.works = False
    model._captioner.caption([[np.zeros((4, 4, 3), np.uint8)]])


async def test_a_replica_that_cannot_caption_never_becomes_ready() -> None:
    captioner = Switch()
    captioner.works = False
    with pytest.raises(RuntimeError, match="the device is lost"):
        replica(captioner)


async def test_a_failed_batch_alone_does_not_make_a_replica_unhealthy() -> None:
    captioner = Switch()
    model = replica(captioner)
    fail_once(model, captioner)
    captioner.works = True
    await model.check_health()
    assert model._captioner.failures == 0


async def test_a_captioner_that_cannot_caption_any_more_is_unhealthy() -> None:
    captioner = Switch()
    model = replica(captioner)
    await model.check_health()
    fail_once(model, captioner)
    with pytest.raises(RuntimeError, match="the device is lost"):
        await model.check_health()


async def test_a_batch_that_hangs_is_unhealthy() -> None:
    model = replica(Switch(), batch_timeout_s=5.0)
    model._captioner.busy_since = float("-inf")
    with pytest.raises(UnhealthyError, match="5 s"):
        await model.check_health()


@pytest.mark.parametrize("config", [{"max_batch_size": 4}, {"max_batch_size": 4, "batch_wait_s": 0, "x": 1}])
async def test_the_user_config_is_closed(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        replica(Switch()).reconfigure(config)


def deployments(app: Any) -> dict[str, Any]:
    node = app._bound_deployment
    found = {node.name: node}
    for argument in node.init_args:
        if hasattr(argument, "_bound_deployment"):
            found |= deployments(argument)
    return found


def test_settings_reach_the_deployments() -> None:
    settings = CaptionerSettings(
        max_batch_size=8,
        batch_wait_s=0.5,
        min_replicas=2,
        max_replicas=5,
        max_queued_requests=3,
        max_ongoing_requests=9,
        model_gpus=1,
        model_cpus=4,
        ingress_replicas=2,
    )
    found = deployments(application(settings, Switch))  # type: ignore[arg-type]
    model, ingress = found[MODEL], found[INGRESS]
    assert model.user_config == {"max_batch_size": 8, "batch_wait_s": 0.5}
    assert (model.max_ongoing_requests, model.max_queued_requests) == (9, 3)
    scaling = model._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (2, 5, 2.0)
    assert model.ray_actor_options == {"num_cpus": 4, "num_gpus": 1}
    assert ingress.num_replicas == 2


def test_the_builder_takes_settings_by_name_and_refuses_others() -> None:
    assert set(deployments(build({"preset": "tiny", "max_images": 8}))) == {MODEL, INGRESS}
    for args, part in (
        ({"max_imges": 8}, "max_imges"),
        ({"preset": "huge"}, "huge"),
        ({"max_images": "x"}, "max_images"),
    ):
        with pytest.raises(SettingsError, match=part):
            build(args)


def test_a_process_without_rays_daemons_says_that_ray_died() -> None:
    with pytest.raises(RayDiedError, match="gcs_server and raylet ended") as caught:
        check_ray()
    assert caught.value.exit_code == 1
