"""What a cluster refuses."""


class ClusterError(Exception):
    """It cannot be done in the cluster; the message says what was asked, what the cluster answered, and what to do."""
