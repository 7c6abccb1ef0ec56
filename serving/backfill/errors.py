"""What a backfill refuses."""


class BackfillError(Exception):
    """The shard cannot be finished; the message says what was found and what to do."""
