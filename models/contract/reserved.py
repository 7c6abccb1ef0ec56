"""The bucket numbers that no value may take."""

PADDING = 0  # of a caption's row, and "missing" of a categorical feature
MISSING = 0
NO_CAPTION = 1  # first column of the row of an item without caption
UNKNOWN = 1  # out of vocabulary, out of range
FIRST_VALUE = 2
RESERVED = 2
