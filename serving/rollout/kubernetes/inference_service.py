"""A ranker that KServe runs: the candidate is an entry of `spec.canary` with no traffic of its own.

KServe makes each entry a Deployment `<service>-<entry>-predictor`, whose pods have the label `app: isvc.<that name>`.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from serving.rollout.experiment.ports import CandidateState, Readiness, RefusedError, RetryError, VerifiedBundle
from serving.rollout.kubernetes.api import DEPLOYMENT, INFERENCE_SERVICE, POD, SERVICE, Api, Object
from serving.rollout.kubernetes.fetching import fetched, with_argument, with_bundle
from serving.rollout.kubernetes.loan import STABLE_REPLICAS, before_loan
from serving.rollout.kubernetes.objects import (
    BUNDLE_ID,
    GRPC_PORT,
    UID,
    Owner,
    annotated,
    changes,
    checked_name,
    headless_service,
    labels_of,
)
from serving.rollout.kubernetes.ownership import hand_over
from serving.rollout.kubernetes.predictor import candidate, promoted, rescaled, served
from serving.rollout.kubernetes.rivals import rival
from serving.rollout.kubernetes.rollouts import candidate_state, rollout
from serving.rollout.kubernetes.values import claims, helm_command, storage_uri
from serving.rollout.kubernetes.warming import warm

PROMOTED = "sightline.dev/promoted-for"
"""Label of a headless Service that a promotion left to stable: the InferenceService's name."""
_HOST = "--predictor_host="


class InferenceServiceTarget:
    """`Cluster` for kind InferenceService. Nothing is kept between calls: each looks at what is there."""

    def __init__(
        self,
        api: Api,
        http: httpx.Client,
        *,
        owner: Owner,
        service: str,
        model: str,
        bundle: str,
        replicas: int,
        store_secret: str = "",
    ) -> None:
        self._api, self._http, self._owner = api, http, owner
        self._service, self._model = service, model
        self._bundle, self._replicas, self._secret = bundle, replicas, store_secret
        self._name = f"{service}-{owner.name}"
        self._deployment = f"{self._name}-predictor"
        self._host = f"{self._name}.{owner.namespace}:{GRPC_PORT}"

    def candidate(self) -> CandidateState:
        """By KServe's Deployment for the entry; ABSENT too once it has become stable and nothing is left to do."""
        found = self._api.get(INFERENCE_SERVICE, self._owner.namespace, self._service)
        own = self._own_service()
        if found is None or (self._entry(found) is None and not self._is_stable(found)):
            said = f"Service {self._name} is left of it" if own else ""
            return CandidateState(Readiness.STARTING if own else Readiness.ABSENT, "", said)
        if own is None:
            if self._entry(found) is None:
                return CandidateState(Readiness.ABSENT)
            return CandidateState(Readiness.STARTING, "", f"Service {self._name} is missing")
        deployment = self._api.get(DEPLOYMENT, self._owner.namespace, self._deployment)
        if deployment is None:
            return CandidateState(Readiness.STARTING, "", f"KServe has not made Deployment {self._deployment}")
        return candidate_state(deployment, self._host, self._pods())

    def deploy(self, bundle: VerifiedBundle) -> None:
        """The canary entry, with the pods that stable is lent for it, and a headless Service for its pods."""
        found = self._found()
        if self._is_stable(found):
            return
        self._require_free_name(found)
        if self._own_service() is None:
            selector = {"app": f"isvc.{self._deployment}"}
            own = {key: value for key, value in labels_of(found).items() if key.startswith("app.kubernetes.io/")}
            made = headless_service(checked_name(self._name), self._owner, selector, own)
            self._api.create(SERVICE, self._owner.namespace, made)
        stable, entry = found["spec"]["predictor"], self._entry(found)
        before = before_loan(stable, entry)
        new = entry is None or annotated(entry["predictor"]).get(BUNDLE_ID) != bundle.bundle_id
        predictor = self._clone(found, bundle) if new or entry is None else entry["predictor"]
        marks = {**annotated(predictor), STABLE_REPLICAS: before.text()}
        entry = {"trafficPercent": 0, "predictor": {**predictor, "minReplicas": self._replicas, "annotations": marks}}
        raised = rescaled(stable, before.raised(self._replicas))
        self._change(found, {**found["spec"], "predictor": raised, "canary": [*self._others(found), entry]})

    def warm(self) -> None:
        """Inferences of zeros to every pod."""
        entry = self._entry(self._found())
        if entry is None:
            raise RetryError(f"InferenceService {self._service} has no canary {self._owner.name} to be warmed")
        bundle_id = entry["predictor"]["annotations"][BUNDLE_ID]
        warm(self._http, self._pods(), model=self._model, bundle_id=bundle_id)

    def remove(self) -> None:
        """Take the entry out and the loan back, delete the Service; what has become stable stays, with its Service."""
        found = self._api.get(INFERENCE_SERVICE, self._owner.namespace, self._service)
        if found is not None:
            if (entry := self._entry(found)) is not None:
                stable = found["spec"]["predictor"]
                self._replace(found, rescaled(stable, before_loan(stable, entry)))
            else:
                hand_over(self._api, INFERENCE_SERVICE, self._owner.namespace, found)
            if self._is_stable(found):
                self._part_with_service()
                return
        if (service := self._own_service()) is not None:
            self._api.delete(SERVICE, self._owner.namespace, self._name, uid=service["metadata"]["uid"])

    def promote(self) -> bool:
        """The Service is left to stable, the candidate becomes the predictor, the transformer follows."""
        found = self._found()
        if not self._is_stable(found):
            self._leave_service(found)
            self._make_stable(found)
            return False
        found = hand_over(self._api, INFERENCE_SERVICE, self._owner.namespace, found)
        if not self._is_rolled_out(self._deployment):
            return False
        transformer = found["spec"].get("transformer")
        if transformer is not None and (wanted := self._following(transformer)) != transformer:
            self._change(found, {**found["spec"], "transformer": wanted})
            return False
        if not self._is_all_done(found):
            return False
        self._drop_earlier_services()
        self._part_with_service()
        return True

    def replaced(self) -> int:
        """Whether the candidate is the predictor, and whether the transformer follows it."""
        found = self._found()
        if not self._is_stable(found):
            return 0
        transformer = found["spec"].get("transformer")
        return 1 + int(transformer is not None and self._following(transformer) == transformer)

    def stable(self) -> str | None:
        """What KServe brings to the predictor, or what its pods fetch."""
        return served(self._found()["spec"]["predictor"])

    def rival(self) -> str | None:
        """An earlier experiment of the namespace on the same model."""
        return rival(self._api, self._owner, self._model)

    def promotion_hint(self) -> str:
        """With helm, since values that name the old bundle would bring it back; a promoted predictor has a name."""
        found = self._found()
        release = labels_of(found).get("app.kubernetes.io/instance", "RELEASE")
        others = {"ranker.inferenceService.storageUri": ""}
        if name := found["spec"]["predictor"].get("name"):
            others["ranker.inferenceService.predictorName"] = name
        mounted = self._claims(found)
        return helm_command(release, self._owner.namespace, self._bundle, mounted, secret=self._secret, others=others)

    def _found(self) -> Object:
        found = self._api.get(INFERENCE_SERVICE, self._owner.namespace, self._service)
        if found is None:
            raise RefusedError(
                f"spec.target.name is {self._service}, and namespace {self._owner.namespace} has no InferenceService "
                "of that name; see `kubectl get inferenceservices`"
            )
        return found

    def _entry(self, found: Object) -> Object | None:
        """The experiment's canary entry; one of somebody else with its name is none."""
        entries = found["spec"].get("canary") or []
        return next((each for each in entries if self._is_mine(each["predictor"])), None)

    def _is_mine(self, predictor: Object) -> bool:
        return predictor.get("name") == self._owner.name and annotated(predictor).get(UID) == self._owner.uid

    def _others(self, found: Object) -> list[Object]:
        return [each for each in found["spec"].get("canary") or [] if not self._is_mine(each["predictor"])]

    def _is_stable(self, found: Object) -> bool:
        return self._is_mine(found["spec"]["predictor"])

    def _require_free_name(self, found: Object) -> None:
        """Raises RefusedError when the candidate's name is somebody else's: of a canary, the predictor, a Service."""
        others = [*self._others(found), {"predictor": found["spec"]["predictor"]}]
        if any(each["predictor"].get("name") == self._owner.name for each in others):
            raise RefusedError(
                f"InferenceService {self._service} has a predictor or canary named {self._owner.name} already that is "
                "not of this experiment: give the experiment another name"
            )
        service = self._api.get(SERVICE, self._owner.namespace, self._name)
        if service is not None:
            self._owner.require(SERVICE, service)

    def _own_service(self) -> Object | None:
        found = self._api.get(SERVICE, self._owner.namespace, self._name)
        return found if found is not None and self._owner.owns(found) else None

    def _pods(self) -> list[Object]:
        return self._api.list(POD, self._owner.namespace, f"app=isvc.{self._deployment}")

    def _change(self, found: Object, spec: Object) -> None:
        """Patch it, and leave what was patched to whoever applies the InferenceService."""
        namespace = self._owner.namespace
        if patch := changes(found["spec"], spec):
            version = found["metadata"]["resourceVersion"]
            found = self._api.patch(INFERENCE_SERVICE, namespace, self._service, {"spec": patch}, version=version)
        hand_over(self._api, INFERENCE_SERVICE, namespace, found)

    def _replace(self, found: Object, predictor: Object) -> None:
        """Another predictor, and the entry is gone, in one patch."""
        spec = {key: value for key, value in found["spec"].items() if key != "canary"} | {"predictor": predictor}
        others = self._others(found)
        self._change(found, {**spec, "canary": others} if others else spec)

    def _clone(self, found: Object, bundle: VerifiedBundle) -> Object:
        return candidate(
            found["spec"]["predictor"],
            self._owner,
            bundle_id=bundle.bundle_id,
            storage=storage_uri(self._bundle, self._claims(found)),
            where=f"InferenceService {self._owner.namespace}/{self._service}",
        )

    def _claims(self, found: Object) -> Mapping[str, str]:
        """The model store's claim is mounted where the transformer fetches; KServe mounts it by itself."""
        return claims(found["spec"].get("transformer") or {})

    def _make_stable(self, found: Object) -> None:
        """The entry's predictor is the predictor, with stable's own numbers of pods."""
        entry, stable = self._entry(found), found["spec"]["predictor"]
        if entry is None:
            raise RefusedError(
                f"InferenceService {self._service} has no canary {self._owner.name} any more: somebody took it out"
            )
        self._replace(found, promoted(stable, entry, before_loan(stable, entry)))

    def _following(self, transformer: Object) -> Object:
        """The transformer with the candidate's bundle and its Triton."""
        main = transformer["containers"][0]
        where = f"InferenceService {self._owner.namespace}/{self._service}"
        made = with_bundle(transformer, self._bundle, image=main.get("image", ""), secret=self._secret, where=where)
        with_argument(made["containers"][0], _HOST, self._host)
        return made

    def _is_all_done(self, found: Object) -> bool:
        """The transformer's pods, all of them, serve the candidate's bundle and ask its Triton."""
        transformer = found["spec"].get("transformer")
        if transformer is None:
            return True
        name = f"{self._service}-transformer"
        deployment = self._api.get(DEPLOYMENT, self._owner.namespace, name)
        if self._following(transformer) != transformer or deployment is None:
            return False
        pod = deployment["spec"]["template"]["spec"]
        if fetched(pod) != self._bundle or _HOST + self._host not in pod["containers"][0].get("args", ()):
            return False  # KServe has not handed the change on yet
        return self._is_rolled_out(name)

    def _is_rolled_out(self, name: str) -> bool:
        deployment = self._api.get(DEPLOYMENT, self._owner.namespace, name)
        if deployment is None:
            return False
        state = rollout(deployment)
        if state.stuck:
            raise RetryError(f"the promotion waits, all users are on the candidate: {state.message}")
        return state.done

    def _leave_service(self, found: Object) -> None:
        """From now on it goes with the InferenceService, not with the experiment."""
        service = self._own_service()
        if service is None or PROMOTED in labels_of(service):
            return
        owner = {
            "apiVersion": INFERENCE_SERVICE.api_version,
            "kind": INFERENCE_SERVICE.name,
            "name": self._service,
            "uid": found["metadata"]["uid"],
            "blockOwnerDeletion": False,
        }
        self._patch_service(service, {"labels": {PROMOTED: self._service}, "ownerReferences": [owner]})

    def _part_with_service(self) -> None:
        """It is stable's alone: the experiment has nothing to do with it any more."""
        if (service := self._own_service()) is not None:
            self._patch_service(service, {"annotations": {UID: None}})

    def _patch_service(self, service: Object, metadata: Object) -> None:
        version = service["metadata"]["resourceVersion"]
        self._api.patch(SERVICE, self._owner.namespace, self._name, {"metadata": metadata}, version=version)

    def _drop_earlier_services(self) -> None:
        for each in self._api.list(SERVICE, self._owner.namespace, f"{PROMOTED}={self._service}"):
            if (name := each["metadata"]["name"]) != self._name:
                self._api.delete(SERVICE, self._owner.namespace, name, uid=each["metadata"]["uid"])
