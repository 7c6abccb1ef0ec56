"""Where experiments are read: the Kubernetes API."""

from __future__ import annotations

from typing import Protocol

from serving.cluster import experiments
from serving.cluster.connection import Cluster
from serving.cluster.errors import ClusterError, MissingError
from serving.rollout.report.resource import Resource, ResourceError, read
from serving.rollout.verdict.faults import AwayError, UnknownError

SECONDS = 5.0
"""Argo Rollouts and Flagger wait ten seconds for an answer."""


class Experiments(Protocol):
    """What the service needs of the world. May be used by several threads."""

    def find(self, namespace: str, name: str) -> Resource:
        """Raises UnknownError, AwayError."""
        ...

    def reach(self) -> None:
        """Raises AwayError while nothing could be found."""
        ...


class ClusterExperiments:
    """Experiments of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def find(self, namespace: str, name: str) -> Resource:
        """Raises UnknownError, AwayError."""
        try:
            return read(experiments.read(self._cluster, name, namespace, seconds=SECONDS))
        except MissingError as error:
            raise UnknownError(str(error)) from error
        except (ClusterError, ResourceError) as error:
            raise AwayError(str(error)) from error

    def reach(self) -> None:
        """Raises AwayError."""
        try:
            experiments.reach(self._cluster, seconds=SECONDS)
        except ClusterError as error:
            raise AwayError(str(error)) from error
