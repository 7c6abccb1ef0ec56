"""Each rendered command line is one that the program accepts: parsed by the program's own parser, not started."""

import atexit
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import typer
import yaml
from authority import Authority
from scenario import Scenario, every, load
from torch.distributed.run import get_args_parser
from typer._click.exceptions import UsageError
from typer.main import get_command

from charts.tooling.pods import Pod
from charts.tooling.render import Object
from models.experiments.events import KEY_VARIABLE
from models.logs import FORMAT_VARIABLE, LEVEL_VARIABLE
from models.store import trust
from models.store.keys import SIGNING_KEY
from serving.backfill import arguments as backfill
from serving.captioner import run as captioner
from serving.captioner.settings import CaptionerSettings, MachineSettings, read_machine, read_settings
from serving.cli.main import app
from serving.ranker import settings as ranker
from serving.ranker.command import RESTRICTION_HEADER
from serving.rollout.collector import settings as collector
from serving.rollout.collector.rights import VARIABLES
from serving.rollout.evidence.collector import TOKEN_VARIABLE
from serving.rollout.operator import settings as operator
from serving.rollout.verdict import run as verdict
from serving.tls import CA_FILE
from serving.transformer import naming
from serving.transformer import settings as transformer
from training import job_arguments as job

SECRET = "a secret of enough characters"
# What Kubernetes sets in the place of $(NAME) of the environment.
FIELDS = {
    "JOB_NAME": "sightline-train-1234",
    "NODE_RANK": "0",
    "POD_IP": "10.0.0.1",
}
# Read by serving/items, serving/termination and the command line, beside the services' own prefixes.
STORE = {"SIGHTLINE_STORE_PASSWORD", "SIGHTLINE_STORE_USERNAME", "SIGHTLINE_STORE_CA_FILE", "SIGHTLINE_STORE_USER_KEY"}
OTHERS = {
    "SIGHTLINE_TERMINATION_LOG",
    "SIGHTLINE_GIT_REVISION",
    KEY_VARIABLE,
    TOKEN_VARIABLE,
    CA_FILE,
    *VARIABLES,
    trust.KEYS,
    trust.REQUIRE,
    SIGNING_KEY,
    naming.KEY_VARIABLE,
    LEVEL_VARIABLE,
    FORMAT_VARIABLE,
}
TRITON = {
    *(
        "model-repository",
        "grpc-port",
        "http-port",
        "metrics-port",
        "exit-timeout-secs",
        "disable-auto-complete-config",
    ),
    *("grpc-max-connection-age", "strict-readiness", "backend-config", "log-verbose", "model-control-mode"),
    *("grpc-address", "http-address", "metrics-address", "allow-metrics", "grpc-keepalive-time"),
    *("http-restricted-api", "grpc-restricted-protocol"),
    *("grpc-use-ssl", "grpc-server-cert", "grpc-server-key"),
}


def words(container: Object) -> list[str]:
    """The command line as the kubelet makes it."""
    variables = {variable["name"]: variable.get("value") for variable in container.get("env", [])}
    line = [*container.get("command", []), *container.get("args", [])]
    known = {name: value or FIELDS.get(name, SECRET) for name, value in variables.items()}
    given = [re.sub(r"\$\((\w+)\)", lambda found: known.get(found[1], found[0]), word) for word in line]
    return [re.sub(r"/etc/sightline/(tls|ca)/", f"{secrets()}/", word) for word in given]


@cache
def secrets() -> Path:
    """Programs look into certificates when they read their settings: what is mounted at /etc/sightline/tls and /ca."""
    authority, folder = Authority(), Path(mkdtemp())
    atexit.register(shutil.rmtree, folder)
    authority.write(folder, "localhost")
    for part in ("ranker", "items", "collector", "captioner"):
        (folder / f"{part}.crt").write_bytes(authority.pem)
    return folder


def environment(container: Object) -> dict[str, str]:
    return {v["name"]: v.get("value", FIELDS.get(v["name"], SECRET)) for v in container.get("env", [])}


def parse(line: Sequence[str], environ: Mapping[str, str]) -> str:
    """Name of the program that accepted the line. Raises what the program raises."""
    match list(line):
        case ["python", "-m", "serving.transformer.run", *rest]:
            transformer.read_settings(rest, environ)
            return "transformer"
        case ["python", "-m", "serving.ranker.run", *rest]:
            ranker.read_settings(rest, environ)
            return "ranker"
        case ["python", "-m", "serving.captioner.run", *rest]:
            given = vars(captioner._parser().parse_args(rest))
            read_machine(
                environ, {name: value for name, value in given.items() if name in MachineSettings.model_fields}
            )
            read_settings(environ, {n: value for n, value in given.items() if n in CaptionerSettings.model_fields})
            return "captioner"
        case ["python", "-m", "serving.rollout.collector.run", *rest]:
            collector.read_settings(rest, environ)
            return "collector"
        case ["python", "-m", "serving.rollout.operator.run", *rest]:
            operator.read_settings(rest, environ)
            return "operator"
        case ["python", "-m", "serving.rollout.verdict.run", *rest]:
            verdict._options().parse_args(rest)
            return "verdict"
        case ["python", "-m", "serving.backfill.run", *rest]:
            backfill.parse(rest, {**environ, backfill.INDEX_VARIABLE: "0"})
            return "backfill"
        case ["python", "-m", "training.job", *rest]:
            return job.parse(rest).job
        case ["python", "-m", "training.job_torchrun", *rest]:
            given = get_args_parser().parse_args(rest)
            assert given.training_script == "training.job"
            assert job.parse(given.training_script_args).distributed
            return "torchrun"
        case ["sightline", *rest]:
            return f"sightline {typed(rest)}"
        case ["sh", "-ec", script, "tritonserver", *rest]:
            given = dict(word.removeprefix("--").partition("=")[::2] for word in rest)
            own = re.findall(r"--([\w-]+)=(\S+)", script)
            assert set(given) | {name for name, _ in own} <= TRITON
            assert given["model-control-mode"] == "none"
            wanted = f"model-repository,shared-memory,statistics,trace,logging:{RESTRICTION_HEADER}=$key"
            inference = f"inference:{RESTRICTION_HEADER}=${{SIGHTLINE_RANKER_INFERENCE_KEY:-$key}}"
            restricted = [("http-restricted-api", wanted), ("grpc-restricted-protocol", wanted)]
            assert own == [*restricted, ("http-restricted-api", inference)]
            return "tritonserver"
        case ["sh", "-ec", script] if "redis-server" in script:
            return "redis-server"
        case _:
            raise AssertionError(f"no program of ours: {shlex.join(line)}")


def typed(rest: Sequence[str]) -> str:
    """Name of the command that takes these arguments; raises click's UsageError otherwise."""
    command, path, arguments = get_command(app), [], list(rest)
    while True:
        context = command.make_context(command.name or "", arguments, obj=None)
        if not isinstance(command, typer.core.TyperGroup):
            return " ".join(path)
        name, found, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        assert name
        assert found
        path.append(name)
        command = found


def lines(scenario: Scenario) -> list[tuple[Pod, Object]]:
    return [(pod, c) for pod in scenario.pods for c in pod.all_containers if c.get("command") or c.get("args")]


def test_every_command_line_is_accepted_by_its_program(scenario: Scenario) -> None:
    for pod, container in lines(scenario):
        line = words(container)
        assert not any(re.search(r"\$\(\w+\)", word) for word in line), (
            f"{pod.owner}: a variable that the container does not have: {line}"
        )
        assert not any(re.search(r"\d[eE]\+\d", word) for word in line), f"{pod.owner}: a number as 1e+06: {line}"
        parse(line, environment(container))


def test_the_sweep_parses_every_program() -> None:
    seen = Counter(parse(words(c), environment(c)) for scenario in every() for _, c in lines(scenario))
    assert seen.keys() == {
        *("transformer", "ranker", "captioner", "backfill", "train", "lift", "publish", "torchrun"),
        *("collector", "operator", "verdict"),
        *("sightline check", "sightline models fetch", "tritonserver", "redis-server"),
    }


def test_a_wrong_argument_would_be_seen() -> None:
    with pytest.raises(SystemExit):
        parse(["python", "-m", "training.job", "train", "--recipes=x"], {})
    with pytest.raises(transformer.SettingsError):
        parse(["python", "-m", "serving.transformer.run", "--bundle=x"], {})
    with pytest.raises(UsageError, match="--too"):
        parse(["sightline", "models", "fetch", "x", "--too=y"], {})


def test_variables_of_ours_are_ones_that_somebody_reads(scenario: Scenario) -> None:
    for pod in scenario.pods:
        for container in pod.all_containers:
            for name in environment(container):
                if name.startswith("SIGHTLINE_"):
                    assert name in STORE | OTHERS | settings_variables(), f"{pod.owner} {name}"


def settings_variables() -> set[str]:
    classes = {
        "SIGHTLINE_TRANSFORMER_": transformer.Settings,
        "SIGHTLINE_RANKER_": ranker.Settings,
        "SIGHTLINE_CAPTIONER_": CaptionerSettings,
        "SIGHTLINE_OPERATOR_": operator.Settings,
    }
    return {prefix + name.upper() for prefix, model in classes.items() for name in model.model_fields}


@pytest.mark.parametrize("name", [s.name for s in every() if s.kind("RayService")])
def test_rays_application_takes_its_arguments(name: str) -> None:
    (service,) = load(name).kind("RayService")
    (application,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    assert application["import_path"] == "serving.captioner.app:build"
    read_settings({}, application["args"])


def test_secrets_are_never_written_into_arguments(scenario: Scenario) -> None:
    for pod, container in lines(scenario):
        for word in [*container.get("command", []), *container.get("args", [])]:
            assert not re.search(r"://[^/]*:[^/]*@", word), f"{pod.owner}: {word}"
        for variable in container.get("env", []):
            if re.search("PASSWORD|SECRET|TOKEN|AUTH|KEY", variable["name"]):
                public = variable["name"] == trust.KEYS  # the keys that signatures are checked with are no secret
                assert public or "valueFrom" in variable, f"{pod.owner} {variable['name']}"
