"""What the model store refuses; the class says what the caller can do about it."""


class ModelStoreError(Exception):
    """The store cannot do what was asked; the message names the place, what was found and what to do."""


class StoreUnreachableError(ModelStoreError):
    """The store did not answer, or does not let us in: nothing is known of what it holds. A later try may succeed."""


class NoSuchEntryError(ModelStoreError):
    """There is no such store, name or number."""


class UnfinishedEntryError(ModelStoreError):
    """The number is claimed, and nothing is committed under it: being published now, or left by a killed publish."""


class DamagedEntryError(ModelStoreError):
    """What the store holds is not what was published."""


class UntrustedError(ModelStoreError):
    """What the store holds may be whole, and is not by whom or not the one that this site demands."""
