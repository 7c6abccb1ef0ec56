"""What a client asks: a user, a context, candidates. Parsing reports all faults of a request at once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from models.contract import Fault
from serving.transformer.errors import InvalidRequestError, shown
from serving.transformer.feature_names import FeatureNames

Value = str | int | float | None
FAULT_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds of one request, all inclusive; `inline_bytes` is of all captions that a call brings together."""

    candidates: int = 1000
    instances: int = 16
    id_bytes: int = 256
    caption_bytes: int = 4096
    inline_bytes: int = 256 << 10
    text_bytes: int = 1024


@dataclass(frozen=True, slots=True)
class RankRequest:
    """One user and the candidates to rank. `captions` and `features` are given by candidate position."""

    user_id: str
    item_ids: tuple[str, ...]
    user: Mapping[str, Value] = field(default_factory=dict)
    context: Mapping[str, Value] = field(default_factory=dict)
    captions: Mapping[int, str] = field(default_factory=dict)
    features: Mapping[int, Mapping[str, Value]] = field(default_factory=dict)


class _Absent:
    """Stands for a value that was not given, where null was possible too."""

    def __repr__(self) -> str:
        return "missing"


ABSENT: Final = _Absent()


class FaultList:
    """Collects faults up to a bound: a request of a million wrong values must not cost a million messages."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def add(self, where: str, value: object, expected: str, fix: str) -> None:
        """Note a faulty value; it is shown shortened."""
        self.note(where, shown(value), expected, fix)

    def note(self, where: str, found: str, expected: str, fix: str) -> None:
        """Note a fault that is no value: something missing, too many, unknown."""
        if len(self.found) < FAULT_LIMIT:
            self.found.append(Fault(where, found, expected, fix))

    def unknown(self, where: str, given: Mapping[str, object], known: Sequence[str]) -> None:
        """Note every key of `given` that is not in `known`, with the nearest name."""
        for name in given:
            if name not in known:
                near = get_close_matches(str(name)[:64], known, 1)
                fix = f"did you mean {near[0]!r}?" if near else "remove it"
                expected = f"one of {', '.join(known)}" if known else "no field here"
                self.note(f"{where}.{str(name)[:64]}" if where else str(name)[:64], "an unknown field", expected, fix)

    def finish(self) -> None:
        """Raise `InvalidRequestError` if anything was noted."""
        if self.found:
            raise InvalidRequestError(self.found)


class RequestParser:
    """Reads raw JSON values into `RankRequest`s, by the features' names of one contract and by limits."""

    def __init__(self, names: FeatureNames, limits: Limits) -> None:
        self._names = names
        self._limits = limits

    def v1(self, document: object) -> list[RankRequest]:
        """Parse `{"instances": [...]}`. Raises `InvalidRequestError` with every fault."""
        faults = FaultList()
        instances = self._instances(document, faults)
        requests = [self._instance(f"instances[{i}]", one, faults) for i, one in enumerate(instances)]
        self._check_inline("instances", [text for one in requests for text in one.captions.values()], faults)
        faults.finish()
        return requests

    def tensors(
        self,
        user_id: str,
        item_ids: Sequence[str],
        captions: Sequence[str] | None,
        user: object,
        context: object,
        faults: FaultList,
    ) -> RankRequest:
        """Check values that came as V2 tensors; an empty caption means: use the store."""
        self.check_id("user_id", user_id, faults)
        if self._check_count("item_id", len(item_ids), faults) and not self._plain(item_ids):
            for position, item_id in enumerate(item_ids):
                self.check_id(f"item_id[{position}]", item_id, faults)
        self._check_repeats("item_id", item_ids, faults)
        inline = {position: text for position, text in enumerate(captions or ()) if text}
        for position, text in inline.items():
            self._check_caption(f"caption[{position}]", text, faults)
        self._check_inline("caption", inline.values(), faults)
        checked_user = self._features("user", user, "user", faults)
        checked_context = self._features("context", context, "context", faults)
        return RankRequest(user_id, tuple(item_ids), checked_user, checked_context, inline)

    def check_id(self, where: str, value: object, faults: FaultList) -> str:
        """Return the id, an empty string if it is faulty."""
        if isinstance(value, bool) or not isinstance(value, str):
            fix = f"write it as a string: {str(value)!r}" if type(value) is int else "give the id as a string"
            faults.add(where, value, "a string", fix)
        elif not value:
            faults.add(where, value, "an id that is not empty", "give the id")
        elif (size := utf8_size(value)) is None:
            faults.add(where, value, "valid Unicode", "remove lone surrogates")
        elif size > self._limits.id_bytes:
            expected = f"at most {self._limits.id_bytes} bytes of UTF-8 (it has {size})"
            faults.add(where, value, expected, "use a shorter id")
        else:
            return value
        return ""

    def _plain(self, item_ids: Sequence[str]) -> bool:
        """Whether all ids are ASCII of an allowed length, found without a Python loop."""
        lengths = list(map(len, item_ids))
        return min(lengths) > 0 and max(lengths) <= self._limits.id_bytes and "".join(item_ids).isascii()

    def _instances(self, document: object, faults: FaultList) -> list[object]:
        if not isinstance(document, dict):
            faults.add("body", document, 'a JSON object {"instances": [...]}', "wrap the request in an object")
            return []
        faults.unknown("", document, ("instances",))
        instances = document.get("instances")
        if not isinstance(instances, list) or not instances:
            faults.add(
                "instances",
                document.get("instances", ABSENT),
                "an array of at least one request",
                "give one entry per user",
            )
            return []
        if len(instances) > self._limits.instances:
            expected = f"at most {self._limits.instances} requests"
            faults.add("instances", instances, expected, "send the rest in another call")
            return []
        return instances

    def _instance(self, where: str, raw: object, faults: FaultList) -> RankRequest:
        if not isinstance(raw, dict):
            faults.add(where, raw, "an object", 'give {"user_id": ..., "candidates": [...]}')
            return RankRequest("", ())
        faults.unknown(where, raw, ("user_id", "user", "context", "candidates"))
        if "user_id" not in raw:
            faults.note(f"{where}.user_id", "missing", "a string", "give the user's id")
        user_id = self.check_id(f"{where}.user_id", raw["user_id"], faults) if "user_id" in raw else ""
        user = self._features(f"{where}.user", raw.get("user"), "user", faults)
        context = self._features(f"{where}.context", raw.get("context"), "context", faults)
        item_ids, captions, features = self._candidates(f"{where}.candidates", raw.get("candidates", ABSENT), faults)
        return RankRequest(user_id, item_ids, user, context, captions, features)

    def _candidates(
        self, where: str, raw: object, faults: FaultList
    ) -> tuple[tuple[str, ...], dict[int, str], dict[int, Mapping[str, Value]]]:
        captions: dict[int, str] = {}
        features: dict[int, Mapping[str, Value]] = {}
        if not isinstance(raw, list):
            faults.add(where, raw, "an array of objects with item_id", "list the candidates to rank")
            return (), captions, features
        if not self._check_count(where, len(raw), faults):
            return (), captions, features
        limit = self._limits.id_bytes
        item_ids: list[str] = []
        for position, one in enumerate(raw):
            item_id = one.get("item_id") if type(one) is dict and len(one) == 1 else None
            if type(item_id) is str and 0 < len(item_id) <= limit and item_id.isascii():
                item_ids.append(item_id)  # nearly every candidate: nothing more to look at
                continue
            item_ids.append(self._candidate(f"{where}[{position}]", position, one, captions, features, faults))
        self._check_repeats(where, item_ids, faults)
        return tuple(item_ids), captions, features

    def _candidate(
        self,
        where: str,
        position: int,
        raw: object,
        captions: dict[int, str],
        features: dict[int, Mapping[str, Value]],
        faults: FaultList,
    ) -> str:
        if not isinstance(raw, dict):
            faults.add(where, raw, "an object with item_id", 'write {"item_id": "..."}')
            return ""
        faults.unknown(where, raw, ("item_id", "caption", "features"))
        if raw.get("caption") is not None and self._check_caption(f"{where}.caption", raw["caption"], faults):
            captions[position] = raw["caption"]
        given = self._features(f"{where}.features", raw.get("features"), "item", faults)
        if given:
            features[position] = given
        if "item_id" not in raw:
            faults.note(f"{where}.item_id", "missing", "a string", "give the candidate's id")
            return ""
        return self.check_id(f"{where}.item_id", raw["item_id"], faults)

    def _features(self, where: str, raw: object, source: str, faults: FaultList) -> Mapping[str, Value]:
        if raw is None:
            return {}
        if not isinstance(raw, dict):
            faults.add(where, raw, "an object of features", f"give {source} features by name, or leave it out")
            return {}
        kinds = self._names.kinds(source)
        faults.unknown(where, raw, tuple(kinds))
        for name, value in raw.items():
            if name in kinds and (wrong := kinds[name].fault(value, self._limits.text_bytes)) is not None:
                faults.add(f"{where}.{name}", value, *wrong)
        return raw

    def _check_caption(self, where: str, value: object, faults: FaultList) -> bool:
        if not isinstance(value, str):
            faults.add(where, value, "a string", "give the caption's text, or leave it out to use the stored one")
        elif (size := utf8_size(value)) is None:
            faults.add(where, value, "valid Unicode", "remove lone surrogates")
        elif size > self._limits.caption_bytes:
            expected = f"at most {self._limits.caption_bytes} bytes of UTF-8 (it has {size})"
            faults.add(where, value, expected, "shorten the caption")
        else:
            return True
        return False

    def _check_inline(self, where: str, texts: Collection[str], faults: FaultList) -> None:
        """Bound what is to be tokenized for one call."""
        size = sum(utf8_size(text) or 0 for text in texts)
        if size > self._limits.inline_bytes:
            expected = f"at most {self._limits.inline_bytes} bytes in one call (--max_inline_bytes)"
            fix = "store captions with their items, or rank fewer candidates per call"
            faults.note(where, f"with {size} bytes of inline captions", expected, fix)

    def _check_count(self, where: str, count: int, faults: FaultList) -> bool:
        if count == 0:
            faults.note(where, "empty", "at least one candidate", "list the candidates to rank")
        elif count > self._limits.candidates:
            expected = f"at most {self._limits.candidates} candidates"
            faults.note(where, f"of length {count}", expected, "rank fewer, or raise --max_candidates")
        return 0 < count <= self._limits.candidates

    def _check_repeats(self, where: str, item_ids: Sequence[str], faults: FaultList) -> None:
        if len(set(item_ids)) == len(item_ids):
            return
        first: dict[str, int] = {}
        for position, item_id in enumerate(item_ids):
            if not item_id:
                continue
            if item_id in first:
                expected = f"an item that is not listed yet (it is at position {first[item_id]})"
                faults.add(f"{where}[{position}]", item_id, expected, "list each candidate once")
            first.setdefault(item_id, position)


def utf8_size(text: str) -> int | None:
    """Bytes of the text as UTF-8; None if it has lone surrogates."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None
