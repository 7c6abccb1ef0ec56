"""Fixtures of this folder live in `stack_fixtures`, where tests can import their types."""

from stack_fixtures import running, small

__all__ = ["running", "small"]
