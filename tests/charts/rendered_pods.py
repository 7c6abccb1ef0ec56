"""Containers exactly as the chart renders them, started as processes of this machine.

What a cluster gives and this machine lacks is substituted, and nothing else:

    rendered                                            here
    a Service's name with its port                      127.0.0.1 and the port that the pod's process listens on
    the container's own ports, in arguments and files   free ports
    0.0.0.0 as the address to listen on                 127.0.0.1
    a volume's mount path                               a folder: ConfigMaps with their files, certificates for the
                                                        names rendered, everything else empty
    /opt/sightline/demo, which the images carry         a folder with the same material
    Secrets and fields named by env                     their values in the rendering
    the account's token, by which a pod asks the API    `more` variables, which name a kubeconfig
    PATH of the image                                   the environment's programs, then the system's

Not imitated: the user 10001, the read-only root, resource limits, network policies.
"""

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from authority import Authority

from charts.tooling.pods import Pod, pods_of
from charts.tooling.render import Object
from serving.stack.triton_server import free_port

DEMO = "/opt/sightline/demo"
Address = tuple[str, int]
"""A Service's name and port."""


class NotStartedError(AssertionError):
    """A container ended, or was not ready in the time that its probes give it; with the end of its log."""


@dataclass
class Machine:
    """One rendering on this machine: which port stands for which, and where folders are."""

    objects: Sequence[Object]
    demo: Path
    folder: Path
    kserve: Mapping[str, Mapping[int, tuple[str, int]]] = field(default_factory=dict)
    """Services that KServe makes: name to port to (component, container port)."""
    authority: Authority | None = None
    """Signs what the rendering asks of cert-manager."""
    _ports: dict[tuple[str, int], int] = field(default_factory=dict)

    def pod(self, component: str, owner: str = "") -> Pod:
        """The one pod of a component."""
        (found,) = [p for p in pods_of(self.objects) if p.component == component and owner in p.owner]
        return found

    def port(self, component: str, rendered: int) -> int:
        """The free port that stands for a container's port."""
        return self._ports.setdefault((component, rendered), free_port())

    def services(self) -> dict[Address, int]:
        """Every Service's address to the port of this machine that stands for it."""
        found = {}
        for service in (each for each in self.objects if each["kind"] == "Service"):
            pod = next(p for p in pods_of(self.objects) if p.has(service["spec"]["selector"]))
            for port in service["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                number = target if isinstance(target, int) else _named_ports(pod)[target]
                found[service["metadata"]["name"], port["port"]] = self.port(pod.component, number)
        for name, ports in self.kserve.items():
            found |= {(name, port): self.port(*behind) for port, behind in ports.items()}
        return found

    def has(self, kind: str, name: str) -> bool:
        """Whether the rendering has the object."""
        return any(o["kind"] == kind and o["metadata"]["name"] == name for o in self.objects)

    def object(self, kind: str, name: str) -> Object:
        """An object of the rendering by its name."""
        (found,) = [o for o in self.objects if o["kind"] == kind and o["metadata"]["name"] == name]
        return found


def _named_ports(pod: Pod) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for each in pod.containers for port in each.get("ports", [])}


@dataclass(frozen=True)
class Container:
    """A container of a pod, with everything substituted that the module's docstring names."""

    machine: Machine
    pod: Pod
    spec: Object
    folder: Path
    index: int | None = None
    """Of an Indexed Job's pod."""
    more: Mapping[str, str] = field(default_factory=dict)
    """Further variables."""

    @property
    def command(self) -> list[str]:
        """Command and arguments."""
        return [self.here(word) for word in (*self.spec["command"], *self.spec.get("args", []))]

    @property
    def env(self) -> dict[str, str]:
        """The rendered variables, and what every image has."""
        values = {entry["name"]: self._value(entry) for entry in self.spec.get("env", [])}
        rendered = {name: value for name, value in values.items() if value is not None}
        path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])
        indexed = {} if self.index is None else {"JOB_COMPLETION_INDEX": str(self.index)}
        return {"PATH": path, "LANG": "C.UTF-8", **self._tmp(), **indexed, **rendered, **self.more}

    def _tmp(self) -> dict[str, str]:
        """Programs that ask for a temporary folder get the one that stands for /tmp, where there is one."""
        mounted = any(mount["mountPath"] == "/tmp" for mount in self.spec.get("volumeMounts", []))
        return {"TMPDIR": str(self.mounted("/tmp"))} if mounted else {}

    def _value(self, entry: Mapping[str, Any]) -> str | None:
        """None where the kubelet sets no variable: an optional key of a Secret that is not there."""
        if "value" in entry:
            return self.here(entry["value"])
        source = entry["valueFrom"]
        if "secretKeyRef" in source:
            asked = source["secretKeyRef"]
            if asked.get("optional") and not self.machine.has("Secret", asked["name"]):
                return None
            secret = self.machine.object("Secret", asked["name"])
            return base64.b64decode(secret["data"][asked["key"]]).decode()
        assert "fieldRef" in source, source
        return f"value-of-{source['fieldRef']['fieldPath']}"

    def mounted(self, path: str) -> Path:
        """The folder that stands for a mount path, made when it is first asked for."""
        mounts = {mount["mountPath"]: mount["name"] for mount in self.spec.get("volumeMounts", [])}
        folder = self.folder / f"{list(mounts).index(path)}"
        if not folder.exists():
            folder.mkdir(parents=True)
            self._certify(folder, self.pod.volumes[mounts[path]])
            config = self.pod.volumes[mounts[path]].get("configMap")
            for name, text in (
                self.machine.object("ConfigMap", config["name"]).get("data", {}) if config else {}
            ).items():
                (folder / name).write_text(self.here(text))
        return folder

    def _certify(self, folder: Path, volume: Mapping[str, Any]) -> None:
        """What cert-manager would have written into the Secrets of a volume."""
        authority = self.machine.authority
        if authority is None:
            return
        if "secret" in volume:
            (asked,) = (
                each["spec"]
                for each in self.machine.objects
                if each["kind"] == "Certificate" and each["spec"]["secretName"] == volume["secret"]["secretName"]
            )
            authority.write(folder, *asked["dnsNames"], *asked["ipAddresses"])
        for source in volume.get("projected", {}).get("sources", []):
            for item in source["secret"]["items"]:
                assert item["key"] == "ca.crt", item
                (folder / item["path"]).write_bytes(authority.pem)

    def here(self, text: str) -> str:
        """Rendered text as it must read on this machine."""
        for (name, port), number in self.machine.services().items():
            text = re.sub(rf"(?<![\w.-]){re.escape(name)}:{port}(?!\d)", f"127.0.0.1:{number}", text)
            if port == 80:
                text = re.sub(rf"http://{re.escape(name)}(?![\w.:-])", f"http://127.0.0.1:{number}", text)
        for port in _named_ports(self.pod).values():
            number = self.machine.port(self.pod.component, port)
            text = re.sub(rf"(?m)(?<=[\w]=){port}$|(?<=^port ){port}$|(?<=^tls-port ){port}$", str(number), text)
        text = re.sub(r"(?<=--host=)0\.0\.0\.0$", "127.0.0.1", text)
        text = re.sub(r"(?m)^bind \*.*$", "bind 127.0.0.1", text)
        places = {mount["mountPath"] for mount in self.spec.get("volumeMounts", [])} - {"/dev/shm"} | {DEMO}
        pattern = "|".join(re.escape(place) for place in sorted(places, key=len, reverse=True))
        return re.sub(rf"(?<![\w/])({pattern})(?![\w-])", self._place, text)  # in one pass: what stands there is final

    def _place(self, found: "re.Match[str]") -> str:
        return str(self.machine.demo if found.group(1) == DEMO else self.mounted(found.group(1)))

    @property
    def grace(self) -> float:
        """Seconds between SIGTERM and SIGKILL: what the pod has, without its preStop hook's."""
        hook = self.spec.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
        assert hook[0] == "sleep", hook
        return float(self.pod.spec["terminationGracePeriodSeconds"]) - float(hook[1])

    def probed(self, kind: str, env: Mapping[str, str]) -> str | None:
        """Why a probe fails now; None when it succeeds."""
        probe = self.spec[kind]
        if "httpGet" in probe:
            return self._asked(probe["httpGet"], probe.get("timeoutSeconds", 1))
        words = [self.here(self._redis_port(word)) for word in probe["exec"]["command"]]
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=60)
        return None if done.returncode == 0 else f"{words}: {done.returncode} {done.stderr}{done.stdout}"

    def _redis_port(self, word: str) -> str:
        """redis-cli asks port 6379 unless told otherwise, so a free port has to be written into the probe."""
        if "redis-cli" not in word:
            return word
        return word.replace("redis-cli", f"redis-cli -p {self.machine.port(self.pod.component, 6379)}")

    def _asked(self, get: Mapping[str, Any], timeout: float) -> str | None:
        number = get["port"] if isinstance(get["port"], int) else _named_ports(self.pod)[get["port"]]
        where = f"127.0.0.1:{self.machine.port(self.pod.component, number)}"
        url = f"{get.get('scheme', 'HTTP').lower()}://{where}{get['path']}"
        try:  # the kubelet believes any certificate
            status = httpx.get(url, timeout=timeout, trust_env=False, verify=False).status_code
        except httpx.TransportError as error:
            return f"{url}: {error!r}"
        return None if 200 <= status < 400 else f"{url}: {status}"


@dataclass
class Started:
    """A container's process."""

    container: Container
    process: "subprocess.Popen[bytes]"
    log: Path

    def until_ready(self) -> None:
        """Wait as the kubelet does: the startup probe within its budget, then the others."""
        startup = self.container.spec["startupProbe"]
        end = time.monotonic() + startup["periodSeconds"] * startup["failureThreshold"]
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            while (why := self.container.probed(kind, self.container.env)) is not None:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise NotStartedError(f"{self.container.command}\n{kind}: {why}\n{self.tail()}")
                time.sleep(0.3)

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4000:]

    def end(self) -> tuple[int | None, float]:
        """SIGTERM, as the kubelet sends it: exit code (None when it had to be killed) and the seconds it took."""
        begun = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(self.container.grace), time.monotonic() - begun
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return None, time.monotonic() - begun


def container(machine: Machine, pod: Pod, name: str | None = None, index: int | None = None, **more: str) -> Container:
    """A pod's container, the first if no name is given, with a folder for its volumes (a short path: Ray's sockets)."""
    spec = next(each for each in pod.all_containers if name in (None, each["name"]))
    folder = machine.folder / f"{len(list(machine.folder.iterdir()))}"
    folder.mkdir()
    return Container(machine, pod, spec if name else pod.containers[0], folder, index, more)


@contextmanager
def started(given: Container) -> Iterator[Started]:
    """The container's process, ready; ended at the end."""
    log = given.folder / "log"
    for mount in given.spec.get("volumeMounts", []):
        if mount["mountPath"] != "/dev/shm":
            given.mounted(mount["mountPath"])
    with log.open("wb") as output:
        process = subprocess.Popen(
            given.command,
            env=given.env,
            cwd=given.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Started(given, process, log)
    try:
        running.until_ready()
        yield running
    finally:
        running.end()


def run(given: Container, timeout: float = 110) -> "subprocess.CompletedProcess[str]":
    """A container that ends by itself, as an init container, a Job's or a test's."""
    for mount in given.spec.get("volumeMounts", []):
        given.mounted(mount["mountPath"])
    return subprocess.run(
        given.command, env=given.env, cwd=given.folder, capture_output=True, text=True, check=False, timeout=timeout
    )


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a short path, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="sl", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
