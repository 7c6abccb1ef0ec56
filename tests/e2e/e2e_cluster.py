"""kubectl and helm against one namespace of a real cluster."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


class ClusterError(AssertionError):
    """A command failed, or something did not come true in time; the message says what was seen."""


@dataclass(frozen=True)
class Cluster:
    """One namespace. `words` of commands are given without kubeconfig and namespace."""

    kubeconfig: Path
    namespace: str
    kubectl_program: Path
    helm_program: Path

    def within(self, namespace: str) -> "Cluster":
        """The same cluster, another namespace."""
        return replace(self, namespace=namespace)

    def kubectl(self, *words: str, stdin: str | None = None, timeout: float = 180) -> str:
        """What `kubectl` prints; raises `ClusterError` with its complaint."""
        return self._run(self.kubectl_program, words, stdin, timeout).stdout

    def helm(self, *words: str, timeout: float = 1800) -> str:
        """What `helm` prints, warnings included; raises `ClusterError` with its complaint."""
        done = self._run(self.helm_program, words, None, timeout)
        return done.stdout + done.stderr

    def get(self, *words: str) -> Any:
        """`kubectl get` as data."""
        return json.loads(self.kubectl("get", *words, "--output", "json"))

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Apply manifests."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        self.kubectl("apply", "--filename", "-", stdin=text)

    def serves(self, *crds: str) -> bool:
        """Whether the cluster has these kinds."""
        found = self.kubectl("get", "customresourcedefinitions", "--output", "name").split()
        return {f"customresourcedefinition.apiextensions.k8s.io/{crd}" for crd in crds} <= set(found)

    @contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[str]:
        """`host:port` on this machine that leads to a Service's port; no LoadBalancer is needed."""
        command = [str(self.kubectl_program), "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace]
        command += ["port-forward", target, f":{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                yield local_address(process)
            finally:
                process.terminate()

    def story(self) -> str:
        """What an engineer would look at first when something is wrong."""
        looks = (
            ("get", "pods", "--output", "wide"),
            ("get", "events", "--sort-by", ".lastTimestamp", "--output", "wide"),
            ("get", "deployments,statefulsets,jobs,services,endpointslices"),
        )
        return "\n\n".join(_tail(self._tried(*look)) for look in looks)

    def _tried(self, *words: str) -> str:
        try:
            return f"$ kubectl {' '.join(words)}\n{self.kubectl(*words)}"
        except (ClusterError, subprocess.TimeoutExpired) as error:
            return str(error)

    def _run(
        self, program: Path, words: Sequence[str], stdin: str | None, timeout: float
    ) -> "subprocess.CompletedProcess[str]":
        command = [str(program), "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace, *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode != 0:
            raise ClusterError(f"{program.name} {' '.join(words)}: exit {done.returncode}\n{done.stderr}{done.stdout}")
        return done


def _tail(text: str, lines: int = 60) -> str:
    kept = text.splitlines()
    return "\n".join([kept[0], *kept[1:][-lines:]])


def local_address(process: "subprocess.Popen[str]") -> str:
    """The address that `kubectl port-forward` says it listens on; raises `ClusterError` with what it said instead."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        found = re.match(r"Forwarding from (127\.0\.0\.1:\d+) ->", line)
        if found:
            return found.group(1)
    raise ClusterError(f"kubectl port-forward: {said}")


def until(
    what: str | Callable[[], str],
    truth: Callable[[], bool],
    seconds: float,
    pause: float = 2.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until `truth` holds, at most `seconds`; raises `ClusterError` naming what was waited for."""
    end = clock() + seconds
    while not truth():
        if clock() >= end:
            named = what if isinstance(what, str) else what()
            raise ClusterError(f"{named}: not so after {seconds:g} s")
        sleep(pause)
