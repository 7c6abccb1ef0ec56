"""The bytes of a stored row, format 1 or 2.

    item   <u8 row format> <u8 flags> <u16 zero> <u32 crc32 of the flags (format 2: and the format) and what follows>
           <u32 tokens> <u32 bytes of text> <u32 bytes of provenance>
           tokens as little-endian int32 | text as UTF-8 | provenance as JSON [tokenizer, captioner, prompt]
           | in format 2 the picture's sha256, 32 bytes | features as a JSON object
    user   the same header with no tokens, text or provenance, then the features

Bit 0 of the flags says that there is a caption. Format 2 is a row whose caption names its picture: an earlier version
of this program refuses it, and rows that it wrote are read. JSON and struct only: reading a row never runs code.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import orjson

from models.items import FeatureValue, ItemRow, ItemRowError, ItemStoreError, StoredCaption, UserRow

ROW_FORMAT, WITH_IMAGE = 1, 2
_HEAD = struct.Struct("<BBHI")
_SIZES = struct.Struct("<III")
_WHOLE = struct.Struct("<BBHIIII")
_HAS_CAPTION = 1
_BODY = _WHOLE.size
_IMAGE_BYTES = 32
_TOKEN = np.dtype("<i4")


class RowCodec:
    """Encodes and decodes rows; remembers the few provenance triples that a store holds."""

    def __init__(self, provenance_limit: int = 4096) -> None:
        self._provenance: dict[bytes, tuple[str, str, str]] = {}
        self._provenance_limit = provenance_limit

    def encode_item(self, row: ItemRow) -> bytes:
        """Return the row's bytes. Raises `ItemRowError` for a value that the format cannot carry."""
        where = f"item {row.item_id!r}"
        features = encode_features(row.features, where)
        if row.caption is None:
            return _seal(0, _SIZES.pack(0, 0, 0) + features)
        caption = row.caption
        image = _image_bytes(caption.image, where)
        tokens = _token_bytes(caption.tokens, where)
        text = _utf8(caption.text, where)
        provenance = encode_json([caption.tokenizer, caption.captioner, caption.prompt], where)
        sizes = _SIZES.pack(len(tokens) // _TOKEN.itemsize, len(text), len(provenance))
        row_format = WITH_IMAGE if image else ROW_FORMAT
        return _seal(_HAS_CAPTION, sizes + tokens + text + provenance + image + features, row_format)

    def decode_items(self, item_ids: Sequence[str], values: Sequence[bytes | None]) -> list[ItemRow | None]:
        """Return the rows, None for None. Token arrays are read-only views of one buffer per call: making an
        array from bytes costs more than the rest of a row. Raises `ItemStoreError`.
        """
        heads = [None if v is None else _open(v, "item", i) for i, v in zip(item_ids, values, strict=True)]
        chunks = [v[_BODY : _BODY + 4 * h[1]] for v, h in zip(values, heads, strict=True) if v and h]
        tokens = np.frombuffer(b"".join(chunks), _TOKEN)
        rows: list[ItemRow | None] = []
        at = 0
        for item_id, value, head in zip(item_ids, values, heads, strict=True):
            if value is None or head is None:
                rows.append(None)
                continue
            rows.append(self._row(item_id, value, head, tokens[at : at + head[1]]))
            at += head[1]
        return rows

    def _row(
        self, item_id: str, value: bytes, head: tuple[int, int, int, int], tokens: npt.NDArray[np.int32]
    ) -> ItemRow:
        flags, count, text_size, provenance_size = head
        if not flags & _HAS_CAPTION:
            return ItemRow(item_id, None, orjson.loads(value[_BODY:]))
        text_at = _BODY + 4 * count
        provenance_at = text_at + text_size
        image_at = provenance_at + provenance_size
        features_at = image_at + (_IMAGE_BYTES if value[0] == WITH_IMAGE else 0)
        text = value[text_at:provenance_at].decode()
        named = self._named(value[provenance_at:image_at])
        caption = StoredCaption(text, tokens, *named, value[image_at:features_at].hex())
        return ItemRow(item_id, caption, orjson.loads(value[features_at:]))

    def encode_user(self, row: UserRow) -> bytes:
        """Return the row's bytes. Raises `ItemRowError` for a value that the format cannot carry."""
        return _seal(0, _SIZES.pack(0, 0, 0) + encode_features(row.features, f"user {row.user_id!r}"))

    def decode_user(self, user_id: str, value: bytes) -> UserRow:
        """Return the row. Raises `ItemStoreError`."""
        _open(value, "user", user_id)
        return UserRow(user_id, orjson.loads(value[_BODY:]))

    def _named(self, raw: bytes) -> tuple[str, str, str]:
        known = self._provenance.get(raw)
        if known is None:
            tokenizer, captioner, prompt = orjson.loads(raw)
            known = (tokenizer, captioner, prompt)
            if len(self._provenance) < self._provenance_limit:
                self._provenance[raw] = known
        return known


def encode_features(features: Mapping[str, FeatureValue], where: str) -> bytes:
    """Return features as JSON. Raises `ItemRowError` for NaN, Infinity, booleans and nested values."""
    for name, value in features.items():
        plain = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        if not plain or (isinstance(value, float) and not np.isfinite(value)):
            raise ItemRowError(
                f"{where}: feature {name!r} is {value!r}; expected a string, an integer or a finite float; "
                "leave a missing feature out"
            )
    return encode_json(dict(features), where)


def encode_json(value: object, where: str) -> bytes:
    """Return `value` as JSON bytes. Raises `ItemRowError` naming `where`."""
    try:
        return orjson.dumps(value)
    except TypeError as cause:  # orjson's encode error is a TypeError: lone surrogates, integers over 64 bits
        raise ItemRowError(f"{where}: {cause}; expected valid Unicode and integers of 64 bits") from cause


def _token_bytes(tokens: object, where: str) -> bytes:
    if not isinstance(tokens, np.ndarray) or tokens.dtype != np.int32 or tokens.ndim != 1:
        found = f"{tokens.dtype} {tokens.shape}" if isinstance(tokens, np.ndarray) else type(tokens).__name__
        raise ItemRowError(f"{where}: tokens are {found}; expected a numpy array, int32 [tokens]")
    return tokens.astype(_TOKEN, copy=False).tobytes()


def _image_bytes(image: str, where: str) -> bytes:
    try:
        raw = bytes.fromhex(image)
    except ValueError:
        raw = b"?"
    if len(raw) not in (0, _IMAGE_BYTES):
        raise ItemRowError(
            f"{where}: the caption's image is {image[:80]!r}; expected a sha256 as 64 hex digits, or none"
        )
    return raw


def _utf8(text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as cause:
        message = f"{where}: the caption is not valid Unicode ({cause}); replace lone surrogates"
        raise ItemRowError(message) from cause


def _seal(flags: int, body: bytes, row_format: int = ROW_FORMAT) -> bytes:
    return _HEAD.pack(row_format, flags, 0, zlib.crc32(body, _checked_start(row_format, flags))) + body


def _checked_start(row_format: int, flags: int) -> int:
    """What the checksum begins with: in format 2 the format too, which a flipped bit would else make of format 1."""
    return flags if row_format == ROW_FORMAT else row_format << 8 | flags


def _open(value: bytes, kind: str, key: str) -> tuple[int, int, int, int]:
    """Check format and checksum; return flags, tokens, bytes of text, bytes of provenance: they can be trusted."""
    if len(value) < _BODY:
        raise ItemStoreError(f"{kind} {key!r}: the stored row has only {len(value)} bytes: {_REBUILD}")
    row_format, flags, _, crc, count, text_size, provenance_size = _WHOLE.unpack_from(value)
    if row_format not in (ROW_FORMAT, WITH_IMAGE):
        raise ItemStoreError(
            f"{kind} {key!r}: the stored row has format {row_format}, this program reads {ROW_FORMAT} and "
            f"{WITH_IMAGE}: upgrade it, or write the row again"
        )
    if zlib.crc32(value[_HEAD.size :], _checked_start(row_format, flags)) != crc:
        raise ItemStoreError(f"{kind} {key!r}: the stored row does not match its checksum: {_REBUILD}")
    return flags, count, text_size, provenance_size


_REBUILD = "the store is damaged, delete it and caption the catalogue again"
