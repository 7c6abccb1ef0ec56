"""A ranker that is a Deployment: the candidate is a second one, the same but for its bundle and its name."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import httpx

from serving.rollout.experiment.ports import CandidateState, Readiness, RefusedError, RetryError, VerifiedBundle
from serving.rollout.kubernetes.api import DEPLOYMENT, POD, SERVICE, Api, Object
from serving.rollout.kubernetes.fetching import fetched, with_bundle
from serving.rollout.kubernetes.objects import (
    BUNDLE_ID,
    GRPC_PORT,
    LABEL,
    UID,
    Owner,
    annotations_of,
    changes,
    checked_name,
    headless_service,
    labels_of,
    leaving,
    selected,
)
from serving.rollout.kubernetes.ownership import hand_over
from serving.rollout.kubernetes.rivals import rival
from serving.rollout.kubernetes.rollouts import candidate_state, rollout
from serving.rollout.kubernetes.values import claims, helm_command
from serving.rollout.kubernetes.warming import warm

COMPONENT = "app.kubernetes.io/component"
_MODEL_ID = "sightline/model"
"""The label by which the stable headless Service finds its pods."""


class DeploymentTarget:
    """`Cluster` for kind Deployment. Nothing is kept between calls: each looks at what is there."""

    def __init__(
        self,
        api: Api,
        http: httpx.Client,
        *,
        owner: Owner,
        ranker: str,
        transformer: str,
        model: str,
        bundle: str,
        replicas: int,
        store_secret: str = "",
    ) -> None:
        self._api, self._http, self._owner = api, http, owner
        self._ranker, self._transformer, self._model = ranker, transformer, model
        self._bundle, self._replicas, self._secret = bundle, replicas, store_secret
        self._name = f"{ranker}-{owner.name}"

    def candidate(self) -> CandidateState:
        """By the candidate's Deployment and Service; ABSENT unless both are there."""
        found, service = self._owned()
        if found is None and service is None:
            return CandidateState(Readiness.ABSENT)
        if found is None or service is None or leaving(found) or leaving(service):
            missing = "Service" if found else "Deployment"
            return CandidateState(Readiness.STARTING, "", f"{missing} {self._name} is missing or being deleted")
        return candidate_state(found, f"{self._name}.{self._owner.namespace}:{GRPC_PORT}", self._pods(found))

    def deploy(self, bundle: VerifiedBundle) -> None:
        """Make the Deployment and its headless Service; change the Deployment's pods only for another bundle."""
        found, service = self._there()
        for kind, each in ((DEPLOYMENT, found), (SERVICE, service)):
            if each is not None:
                self._owner.require(kind, each)
        if service is None or found is None or annotations_of(found).get(BUNDLE_ID) != bundle.bundle_id:
            wanted = self._clone(self._stable(), bundle)
            found = (
                self._renewed(found, wanted) if found else self._api.create(DEPLOYMENT, self._owner.namespace, wanted)
            )
        if service is None:
            selector = found["spec"]["selector"]["matchLabels"]
            made = headless_service(self._name, self._owner, selector, selector)
            self._api.create(SERVICE, self._owner.namespace, made)
        if found["spec"].get("replicas", 1) != self._replicas:
            self._change(found, {**found, "spec": {**found["spec"], "replicas": self._replicas}})

    def warm(self) -> None:
        """Inferences of zeros to every pod."""
        found, _ = self._owned()
        if found is None:
            raise RetryError(f"Deployment {self._owner.namespace}/{self._name} is not there to be warmed")
        warm(self._http, self._pods(found), model=self._model, bundle_id=annotations_of(found)[BUNDLE_ID])

    def remove(self) -> None:
        """Delete both objects."""
        for kind in (DEPLOYMENT, SERVICE):
            found = self._api.get(kind, self._owner.namespace, self._name)
            if found is not None and self._owner.owns(found):
                self._api.delete(kind, self._owner.namespace, self._name, uid=found["metadata"]["uid"])

    def promote(self) -> bool:
        """The ranker's fetch URI and its rollout, then the transformer's."""
        return self._serves(self._ranker) and self._serves(self._transformer)

    def replaced(self) -> int:
        """How many of ranker and transformer fetch the candidate's bundle."""
        names = {self._ranker: "spec.target.name", self._transformer: "spec.target.transformer"}
        pods = [self._existing(name, field)["spec"]["template"]["spec"] for name, field in names.items()]
        return sum(fetched(pod) == self._bundle for pod in pods)

    def stable(self) -> str | None:
        """What the ranker fetches, or its image and arguments where the bundle is in the image."""
        pod = self._stable()["spec"]["template"]["spec"]
        return fetched(pod) or f"{pod['containers'][0]['image']} {' '.join(pod['containers'][0].get('args') or ())}"

    def rival(self) -> str | None:
        """An earlier experiment of the namespace on the same model."""
        return rival(self._api, self._owner, self._model)

    def promotion_hint(self) -> str:
        """With helm, since values that name the old bundle would bring it back."""
        stable = self._stable()
        release = labels_of(stable).get("app.kubernetes.io/instance", "RELEASE")
        mounted = claims(stable["spec"]["template"]["spec"])
        return helm_command(release, self._owner.namespace, self._bundle, mounted, secret=self._secret)

    def _there(self) -> tuple[Object | None, Object | None]:
        """What has the names of the candidate's Deployment and Service."""
        found = [self._api.get(kind, self._owner.namespace, self._name) for kind in (DEPLOYMENT, SERVICE)]
        return found[0], found[1]

    def _owned(self) -> tuple[Object | None, Object | None]:
        """The candidate's Deployment and Service; objects of somebody else are none of them."""
        found, service = self._there()
        owns = self._owner.owns
        return found if found and owns(found) else None, service if service and owns(service) else None

    def _pods(self, deployment: Object) -> list[Object]:
        selector = ",".join(f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items())
        return self._api.list(POD, self._owner.namespace, selector)

    def _stable(self) -> Object:
        return self._existing(self._ranker, "spec.target.name")

    def _existing(self, name: str, field: str) -> Object:
        found = self._api.get(DEPLOYMENT, self._owner.namespace, name)
        if found is None:
            raise RefusedError(
                f"{field} is {name}, and namespace {self._owner.namespace} has no Deployment of that name; "
                "see `kubectl get deployments`"
            )
        return found

    def _renewed(self, found: Object, wanted: Object) -> Object:
        """The candidate's Deployment with other pods; its selector, which cannot change, is the same."""
        metadata = {**found["metadata"], "annotations": {**annotations_of(found), **annotations_of(wanted)}}
        spec = {**found["spec"], "template": wanted["spec"]["template"]}
        return self._change(found, {**found, "metadata": metadata, "spec": spec})

    def _change(self, old: Object, new: Object) -> Object:
        metadata = old["metadata"]
        patch = changes(old, new)
        if not patch:
            return old
        namespace, name = self._owner.namespace, metadata["name"]
        return self._api.patch(DEPLOYMENT, namespace, name, patch, version=metadata["resourceVersion"])

    def _serves(self, name: str) -> bool:
        """Make a Deployment serve the candidate's bundle; True when all its pods do."""
        field = "spec.target.name" if name == self._ranker else "spec.target.transformer"
        found = self._existing(name, field)
        found = hand_over(self._api, DEPLOYMENT, self._owner.namespace, found)
        pod = found["spec"]["template"]["spec"]
        if fetched(pod) != self._bundle:
            template = {**found["spec"]["template"], "spec": self._with_bundle(pod, name)}
            made = self._change(found, {**found, "spec": {**found["spec"], "template": template}})
            hand_over(self._api, DEPLOYMENT, self._owner.namespace, made)
            return False
        state = rollout(found)
        if state.stuck:
            raise RetryError(f"the promotion waits, all users are on the candidate: {state.message}")
        return state.done

    def _with_bundle(self, pod: Object, name: str) -> Object:
        image = "" if fetched(pod) else self._fetching_image()
        where = f"Deployment {self._owner.namespace}/{name}"
        return with_bundle(pod, self._bundle, image=image, secret=self._secret, where=where)

    def _fetching_image(self) -> str:
        """The transformer's image has the clients of model stores."""
        found = self._existing(self._transformer, "spec.target.transformer")
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"])

    def _clone(self, stable: Object, bundle: VerifiedBundle) -> Object:
        spec = copy.deepcopy(stable["spec"])
        template = spec["template"]
        selector = dict(spec["selector"].get("matchLabels") or {})
        own = {COMPONENT: "candidate", LABEL: self._owner.name}
        pod_labels = {key: value for key, value in labels_of(template).items() if key != _MODEL_ID} | own
        self._check_apart(stable, pod_labels)
        template["metadata"] = {**template.get("metadata", {}), "labels": pod_labels}
        template["spec"] = self._with_bundle(template["spec"], self._ranker)
        template["spec"] = retargeted(template["spec"], selector, selector | own)
        spec |= {"replicas": self._replicas, "selector": {"matchLabels": selector | own}, "template": template}
        return {
            "metadata": {
                "name": checked_name(self._name),
                "labels": {**labels_of(stable), **own},
                "annotations": {UID: self._owner.uid, BUNDLE_ID: bundle.bundle_id},
                "ownerReferences": [self._owner.reference()],
            },
            "spec": spec,
        }

    def _check_apart(self, stable: Object, pod_labels: Mapping[str, str]) -> None:
        """Neither the stable Deployment nor a Service of its pods may catch the candidate's."""
        selector = stable["spec"]["selector"]
        if selector.get("matchExpressions") or selected(selector.get("matchLabels") or {}, pod_labels):
            raise RefusedError(
                f"Deployment {self._ranker} selects {selector}, which would catch the candidate's pods too; expected "
                f"matchLabels with {COMPONENT}, as the chart has them"
            )
        stable_pods = labels_of(stable["spec"]["template"])
        for service in self._api.list(SERVICE, self._owner.namespace):
            selects = service["spec"].get("selector") or {}
            if selected(selects, stable_pods) and selected(selects, pod_labels):
                raise RefusedError(
                    f"Service {service['metadata']['name']} selects {selects}, which would send it users of stable to "
                    f"the candidate's pods; add {COMPONENT}: {stable_pods.get(COMPONENT)} to its selector"
                )


def retargeted(value: Any, old: Mapping[str, str], new: Mapping[str, str]) -> Any:
    """A copy in which rules about the stable pods (anti-affinity, spreading) are about the candidate's."""
    if isinstance(value, dict):
        return {
            key: dict(new) if key == "matchLabels" and each == old else retargeted(each, old, new)
            for key, each in value.items()
        }
    return [retargeted(each, old, new) for each in value] if isinstance(value, list) else value
