"""What a backfill refuses."""


class CatalogueError(Exception):
    """A catalogue was not captioned to its end."""


class BackfillError(CatalogueError):
    """The shard cannot be finished; the message says what was found and what to do."""


class PlaceError(CatalogueError):
    """The folder of the results cannot be read or written now; the message says what to do."""
