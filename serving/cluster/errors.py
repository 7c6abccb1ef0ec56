"""What a cluster refuses."""


class ClusterError(Exception):
    """It cannot be done in the cluster; the message says what was asked, what the cluster answered, and what to do."""


class MissingError(ClusterError):
    """There is no such object, or the cluster does not know its kind."""


class ConflictError(ClusterError):
    """Somebody else was faster: the object is there already, or has changed since it was read."""


class DeniedError(ClusterError):
    """The cluster does not let this user do it; asking again will not help."""
