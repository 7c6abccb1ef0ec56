"""From an assignment's arm to a ranker: the bundle fetched and verified, a channel of its own opened."""

import asyncio
import tempfile
from pathlib import Path

from models.bundle import Bundle, BundleError, read_bundle
from models.contract import ContractError
from models.experiments.assignment import Arm
from models.items import ItemStoreOriginError
from models.store.errors import ModelStoreError
from models.store.fetch import fetch_bundle
from serving.transformer.candidate import ArmBuild, ArmBuildError, OpenedArm, ReportReady
from serving.transformer.features import FeatureBuilder
from serving.transformer.handshake import Verdict
from serving.transformer.metrics import Metrics
from serving.transformer.missing import MissingCaptions
from serving.transformer.own_rows import OwnRows
from serving.transformer.ranker_parts import channel_to, features_of, predictor_over, ranker_of, rows_of
from serving.transformer.settings import Settings
from serving.transformer.stores import StoreConnection


def arm_build(
    settings: Settings, model: str, store: StoreConnection, missing: MissingCaptions, metrics: Metrics
) -> ArmBuild:
    """How arms of the served model `model` are built."""

    def load(arm: Arm) -> tuple[Bundle, FeatureBuilder, OwnRows]:
        try:
            bundle = read_arm_bundle(arm, settings.candidate_bundles)
            rows = rows_of(settings, bundle, store)
            return bundle, features_of(settings, bundle, rows, missing), rows
        except (ModelStoreError, BundleError, ContractError, OSError) as cause:
            raise ArmBuildError(f"bundle {arm.bundle}: {cause}") from cause

    async def build(arm: Arm, report: ReportReady) -> OpenedArm:
        def heard(_: str, verdict: Verdict) -> None:
            report(verdict.ready, verdict.reason)

        bundle, features, rows = await asyncio.to_thread(load, arm)
        try:
            rows.require()  # here, where requests ask the same connection, and not in the thread
        except ItemStoreOriginError as cause:
            raise ArmBuildError(f"bundle {arm.bundle}: {cause}") from cause
        channel = channel_to(arm.predictor_host, settings)
        predictor = predictor_over(channel, settings, metrics)
        ranker = ranker_of(settings, model, bundle, features, predictor, metrics, in_triton=arm.model, report=heard)
        return OpenedArm(ranker, channel.close)

    return build


def read_arm_bundle(arm: Arm, folder: Path | None) -> Bundle:
    """The arm's bundle, every byte verified; nothing of it stays on disk. `folder` is for it meanwhile.

    Raises:
        ArmBuildError: it is another bundle than the assignment names.
        ModelStoreError, BundleError, OSError: it cannot be read.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sightline-arm-", dir=folder) as scratch:
        to = Path(scratch) / "bundle"
        fetched = fetch_bundle(arm.bundle, to)
        found = {"bundle_id": fetched.bundle, "contract_digest": fetched.contract_digest}
        for field, value in found.items():
            if value != (named := getattr(arm, field)):
                raise ArmBuildError(
                    f"arm {arm.name!r}: {arm.bundle} has {field} {value}, the assignment names {named}; "
                    "publish the bundle that was verified, or begin the experiment again"
                )
        return read_bundle(to)
