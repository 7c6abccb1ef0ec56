"""The ranker's container: `python -m serving.ranker.run --bundle DIR` checks what it is given, then becomes Triton.

This process is replaced by `tritonserver`, so that signals reach Triton itself and its exit code is the container's:
0 after SIGTERM. Before that: 1 it cannot start, 2 unusable settings, 3 port in use.
"""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from models.bundle import BundleError
from models.logs import LogsError, read_logs
from models.store.errors import ModelStoreError
from serving.ranker.command import TritonCommand, TritonServerError
from serving.ranker.placing import PortInUseError, StartError, repository, require_ports
from serving.ranker.settings import Settings, SettingsError, read_settings


def main(argv: Sequence[str]) -> NoReturn:
    """Become Triton, or exit with the code that says why not."""
    try:
        settings, logs = read_settings(argv, os.environ), read_logs(os.environ)
    except (LogsError, SettingsError) as error:
        sys.stderr.write(f"the ranker's settings cannot be used:\n{error}\n")
        sys.exit(2)
    try:
        command = prepared(settings, logs.level)
        env = command.env(os.environ)
    except (BundleError, ModelStoreError, StartError, TritonServerError, OSError) as error:
        sys.stderr.write(f"the ranker cannot start: {error}\n")
        sys.exit(3 if isinstance(error, PortInUseError) else 1)
    sys.stderr.flush()
    os.execve(command.argv[0], command.argv, env)


def prepared(settings: Settings, log_level: str = "info") -> TritonCommand:
    """Triton's command line, with everything in place that it reads. Its log has lines of text, whatever is asked for.

    Raises:
        BundleError, ModelStoreError, StartError, TritonServerError: something is missing, changed, not signed or taken;
            the message says which.
    """
    require_ports(settings)
    command = TritonCommand(
        repository=repository(settings),
        http_port=settings.http_port,
        grpc_port=settings.grpc_port,
        metrics_port=settings.metrics_port,
        workdir=settings.work_dir,
        exit_timeout_seconds=settings.exit_timeout_seconds,
        host=settings.host,
        connection_age_seconds=settings.connection_age_seconds,
        inference_key=None if settings.inference_key is None else settings.inference_key.get_secret_value(),
        open_inference=settings.open_inference,
        certificate=settings.certificate,
        log_level=log_level,
    )
    command.prepare()
    for name, path in settings.bundles.items():
        sys.stderr.write(f"ranker: model {name} is the bundle {path}\n")
    return command


if __name__ == "__main__":
    main(sys.argv[1:])
