"""What a backfill refuses."""


class BackfillError(Exception):
    """The shard cannot be finished; the message says what was found and what to do."""


class PlaceError(Exception):
    """The folder of the results cannot be read or written now; the message says what to do."""
