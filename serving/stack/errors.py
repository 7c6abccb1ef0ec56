"""What the stack refuses, in words for the person at the terminal."""


class StackError(Exception):
    """The stack cannot start or go on; the message says which part, why, and what to do."""


class NotReadyError(StackError):
    """A server ended or did not become ready in its time; the message names its log."""
