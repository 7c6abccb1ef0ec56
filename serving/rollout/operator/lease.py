"""Who leads: the operator that holds the Lease. All others watch, and change nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from threading import Event

from serving.rollout.experiment.ports import RefusedError, RetryError
from serving.rollout.kubernetes.api import DEPLOYMENT, LEASE, Api, Object

log = logging.getLogger("sightline.operator")
_STAMP = "%Y-%m-%dT%H:%M:%S.%fZ"


class Elector:
    """Holds a Lease, or waits for it.

    The holder counts from before it asked, and for two thirds of the lease's time; the others wait the whole time after
    they last saw the Lease change, by their own clocks. So nobody acts on a lease that another one may have, even when
    the API is away, the process was stopped, or clocks differ.
    """

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        name: str,
        identity: str,
        seconds: float,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        owner: str = "",
    ) -> None:
        """`api` must not ask this elector before it writes.

        `owner`: the Deployment of this operator, which takes the Lease with it when it goes; empty: the Lease stays.
        """
        self._api, self._namespace, self._name, self._identity = api, namespace, name, identity
        self._seconds, self._now, self._monotonic = seconds, now, monotonic
        self._owner = owner
        self._valid_until = 0.0
        self._seen: tuple[object, object] | None = None
        self._seen_at = 0.0

    def leading(self) -> bool:
        """Whether this process may act at this moment."""
        return self._monotonic() < self._valid_until

    def require(self) -> None:
        """Raises RetryError when this process may not act."""
        if not self.leading():
            raise RetryError(f"{self._identity} does not hold Lease {self._namespace}/{self._name}: another one acts")

    def step(self) -> None:
        """Renew the lease, or take it when it is free. Raises RetryError and RefusedError."""
        began = self._monotonic()
        found = self._api.get(LEASE, self._namespace, self._name)
        if found is None:
            metadata = {"name": self._name, **self._owned()}
            self._api.create(LEASE, self._namespace, {"metadata": metadata, "spec": self._spec({})})
        elif self._is_free(found, began):
            spec = found.get("spec") or {}
            taken = self._owned() if spec.get("holderIdentity") != self._identity else {}
            metadata = {**found["metadata"], **taken}
            self._api.replace(LEASE, self._namespace, {**found, "metadata": metadata, "spec": self._spec(spec)})
        else:
            self._valid_until = 0.0
            return
        self._valid_until = began + self._seconds * 2 / 3

    def release(self) -> None:
        """Let another one lead at once. Raises RetryError and RefusedError."""
        if not self.leading():
            return
        self._valid_until = 0.0
        found = self._api.get(LEASE, self._namespace, self._name)
        if found is not None and (found.get("spec") or {}).get("holderIdentity") == self._identity:
            self._api.replace(LEASE, self._namespace, {**found, "spec": {**found["spec"], "holderIdentity": ""}})

    def run(self, stop: Event) -> None:
        """Keep trying until `stop`, then release."""
        led = False
        while not stop.wait(self._seconds / 6):
            try:
                self.step()
            except (RetryError, RefusedError) as error:
                log.warning("the lease: %s", error)
            if self.leading() != led:
                led = not led
                log.info("%s %s Lease %s", self._identity, "holds" if led else "does not hold", self._name)
        try:
            self.release()
        except (RetryError, RefusedError) as error:
            log.warning("the lease runs out by itself: %s", error)

    def _owned(self) -> Object:
        """The Lease's owners; none where the Deployment is not there, or may not be read: leading goes before order."""
        if not self._owner:
            return {}
        try:
            found = self._api.get(DEPLOYMENT, self._namespace, self._owner)
        except RetryError as error:
            log.warning("Lease %s stays when the operator goes, since its owner is not known: %s", self._name, error)
            return {}
        if found is None:
            return {}
        named = {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.name, "name": self._owner}
        return {"ownerReferences": [{**named, "uid": found["metadata"]["uid"], "blockOwnerDeletion": False}]}

    def _is_free(self, found: Object, now: float) -> bool:
        spec = found.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder in ("", self._identity):
            return True
        seen = (holder, spec.get("renewTime"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        return now - self._seen_at >= float(spec.get("leaseDurationSeconds") or self._seconds)

    def _spec(self, old: Object) -> Object:
        stamp = self._now().strftime(_STAMP)
        took_over = old.get("holderIdentity") != self._identity
        return {
            **old,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._seconds)),
            "renewTime": stamp,
            "acquireTime": stamp if took_over else old.get("acquireTime", stamp),
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (1 if took_over and old else 0),
        }
