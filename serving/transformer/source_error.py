"""The error of every source of assignments."""


class AssignmentSourceError(Exception):
    """The document cannot be read now; the message names the place, what was found and what to do."""
