"""The version of this project, as its package says it."""

from importlib.metadata import PackageNotFoundError, version


def project_version() -> str:
    """Such as 0.1.0; `unknown` where the sources run without being installed."""
    try:
        return version("sightline")
    except PackageNotFoundError:
        return "unknown"
