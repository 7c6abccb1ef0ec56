"""The captioner's typed errors."""

REBUILD = "python -m training.captioner.run"


class CaptionerError(Exception):
    """Base of the captioner's errors."""


class UnknownPresetError(CaptionerError, ValueError):
    """A preset's name that is in no list."""


class CaptionerLoadError(CaptionerError):
    """Weights, configuration, tokenizer or processor files that are missing, changed or unreadable."""

    def __init__(self, file: str, problem: str, remedy: str) -> None:
        super().__init__(f"{file}: {problem}; {remedy}")
        self.file = file
