"""Text to token ids: the library's own, whatever the text, whatever the cache remembers."""

import json
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from models.contract import (
    CaptionFeature,
    CaptionTokenizer,
    DigestMismatchError,
    HashEncoder,
    IdentityEncoder,
    TokenizerError,
    normalize,
)
from models.contract.llama_json import words_are_independent

pieces = st.one_of(
    st.sampled_from(
        ["a red", " car", "Dog", "\n", "\r\n", "\t ", "\x1c", "\x00", "\u2581", " \u2581\u2581x", "<s>", "</s>"]
    ),
    st.sampled_from(
        ["<image>", "<0x41>", "<unk>", "\ud83d", "\udc00", "\u3000", "\u0085", "ﬁ", "İ", "ΑΣ", "é", "e\u0301"]
    ),
    st.sampled_from(
        ["fifteen-bytes-x", "sixteen--bytes-x", "a-much-longer-word-than-sixteen-bytes", "日本語の長い言葉", "🙂"]
    ),
    st.text(st.characters(), max_size=6),
)
texts = st.lists(pieces, max_size=8).map("".join)


def plainly_normalised(text: str) -> str:
    repaired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", repaired).lower())
    return " ".join(folded.split())


@given(texts)
def test_normalisation_is_idempotent_and_leaves_text_that_utf8_holds(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert once.encode("utf-8").decode("utf-8") == once
    assert once == plainly_normalised(text)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("  A\tRed \n CAR ", "a red car"),
        ("ﬁne Ⅳ ①", "fine iv 1"),
        ("a\u00a0b\u3000c\u2028d\u0085e\x1cf", "a b c d e f"),
        ("lone \ud800 half", "lone \ufffd half"),
        ("pair \ud83d\ude42", "pair 🙂"),
        ("nul\x00byte", "nul\x00byte"),
        ("\u2581", "\u2581"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_normalisation_by_example(raw: str, expected: str) -> None:
    assert normalize(raw) == expected


@settings(max_examples=200)
@given(st.lists(texts, max_size=6))
def test_ids_equal_the_librarys_on_any_text(
    tokenizer: CaptionTokenizer, library: Tokenizer, captions: list[str]
) -> None:
    assert tokenizer.caches_words
    expected = [library.encode(plainly_normalised(text), add_special_tokens=False).ids for text in captions]
    assert [ids.tolist() for ids in tokenizer.encode(captions)] == expected


def test_ids_equal_the_librarys_on_many_captions_cold_and_warm(tokenizer_json: bytes, library: Tokenizer) -> None:
    random = np.random.default_rng(1)
    letters = random.integers(0, 9, size=(3_000, 22))
    words = ["".join("abcdeéßx-"[i] for i in row[: 1 + row.sum() % 22]) for row in letters]
    captions = [" ".join(words[i] for i in row) for row in random.integers(0, 3_000, size=(5_000, 12))]
    expected = [row.ids for row in library.encode_batch_fast(list(map(normalize, captions)), add_special_tokens=False)]
    tokenizer = CaptionTokenizer.from_bytes(tokenizer_json)
    for _ in range(2):
        assert [ids.tolist() for ids in tokenizer.encode(captions)] == expected


@pytest.mark.parametrize("bounds", [{"cache_words": 3}, {"cache_bytes": 10}, {"cache_words": 0}])
def test_a_full_cache_forgets_and_stays_exact(
    tokenizer_json: bytes, library: Tokenizer, bounds: dict[str, int]
) -> None:
    tokenizer = CaptionTokenizer(tokenizer_json, "tokenizer.json", **bounds)
    for text in [
        "a red car on the table",
        "seven other words are in this one",
        "a red car",
        "a-very-long-word-of-bytes",
    ]:
        assert tokenizer.encode([text])[0].tolist() == library.encode(text, add_special_tokens=False).ids
    assert tokenizer.cached_words <= 8


@given(texts)
def test_written_control_tokens_never_become_control_ids(tokenizer: CaptionTokenizer, text: str) -> None:
    (ids,) = tokenizer.encode([text + " <s> </s> <image>"])
    assert not {1, 2, tokenizer.vocabulary_size - 1} & set(ids.tolist())
    assert len(ids) > 3


def test_order_and_batch_size_do_not_matter(tokenizer: CaptionTokenizer) -> None:
    captions = ["a red car", "", "▁odd one", "zwei Hunde", "a red\ncar"]
    together = [ids.tolist() for ids in tokenizer.encode(captions)]
    assert together == [tokenizer.encode([text])[0].tolist() for text in captions]
    assert together[::-1] == [ids.tolist() for ids in tokenizer.encode(captions[::-1])]
    assert tokenizer.encode([]) == []
    assert together[1] == []
    assert together[0] == together[4]


def test_threads_may_share_a_tokenizer(tokenizer_json: bytes, library: Tokenizer) -> None:
    shared = CaptionTokenizer(tokenizer_json, "tokenizer.json", cache_words=5)
    captions = [f"number {i} and {i * 7} of many" for i in range(60)]
    expected = [row.ids for row in library.encode_batch_fast(captions, add_special_tokens=False)]

    def one_by_one(start: int) -> bool:
        places = [(start + i) % 60 for i in range(60)]
        return all(shared.encode([captions[i]])[0].tolist() == expected[i] for i in places)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(one_by_one, range(0, 60, 5)))


def test_ids_are_int32_and_untruncated(tokenizer: CaptionTokenizer) -> None:
    (ids,) = tokenizer.encode(["word " * 10_000])
    assert ids.dtype == np.int32
    assert len(ids) >= 10_000


def test_settings_of_truncation_padding_and_templates_in_the_file_are_ignored(
    tokenizer_json: bytes, tokenizer: CaptionTokenizer
) -> None:
    changed = Tokenizer.from_str(tokenizer_json.decode())
    changed.enable_truncation(2)
    changed.enable_padding(length=50)
    other = CaptionTokenizer.from_bytes(changed.to_str().encode())
    assert other.encode(["a red car on a table"])[0].tolist() == tokenizer.encode(["a red car on a table"])[0].tolist()


def with_vocabulary_entry(data: bytes, left: str, right: str) -> dict[str, object]:
    document = json.loads(data)
    vocabulary = document["model"]["vocab"]
    for entry in (left, right, left + right):
        vocabulary.setdefault(entry, len(vocabulary) + 10)
    document["model"]["merges"].insert(0, [left, right])
    return document


@pytest.mark.parametrize(("left", "right", "independent"), [("a", "▁", False), ("a▁", "b", False), ("▁", "▁", True)])
def test_only_vocabularies_without_entries_over_word_ends_are_cached(
    tokenizer_json: bytes, left: str, right: str, independent: bool
) -> None:
    document = with_vocabulary_entry(tokenizer_json, left, right)
    assert words_are_independent(document) is independent


def test_a_vocabulary_that_merges_over_word_ends_still_gives_the_librarys_ids(tokenizer_json: bytes) -> None:
    data = json.dumps(with_vocabulary_entry(tokenizer_json, "a", "▁")).encode()
    library, tokenizer = Tokenizer.from_str(data.decode()), CaptionTokenizer.from_bytes(data)
    text = "a cat a dog banana a"
    ids = tokenizer.encode([text])[0].tolist()
    assert not tokenizer.caches_words
    assert ids == library.encode(text, add_special_tokens=False).ids
    assert library.token_to_id("a▁") in ids


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": None},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"model": {"dropout": 0.1}},
        {"model": {"ignore_merges": True}},
        {"model": {"end_of_word_suffix": "</w>"}},
        {"model": {"type": "Unigram"}},
    ],
    ids=lambda change: json.dumps(change),
)
def test_any_other_pipeline_is_not_cached(tokenizer_json: bytes, change: dict[str, object]) -> None:
    document = json.loads(tokenizer_json)
    for key, value in change.items():
        document[key] = {**document[key], **value} if key == "model" else value
    assert words_are_independent(json.loads(tokenizer_json))
    assert not words_are_independent(document)


@pytest.mark.parametrize("split", [True, False])
@given(captions=st.lists(texts, max_size=4))
def test_the_metaspace_form_of_llama_is_cached_with_the_librarys_ids(
    tokenizer_json: bytes, split: bool, captions: list[str]
) -> None:
    document = json.loads(tokenizer_json)
    step = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": split}
    document |= {"normalizer": None, "pre_tokenizer": step}
    data = json.dumps(document)
    library, tokenizer = Tokenizer.from_str(data), CaptionTokenizer.from_bytes(data.encode())
    library.encode_special_tokens = True
    assert tokenizer.caches_words
    expected = [library.encode(normalize(text), add_special_tokens=False).ids for text in captions]
    assert [ids.tolist() for ids in tokenizer.encode(captions)] == expected


def test_another_tokenizer_is_refused_with_both_digests(tokenizer_json: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(tokenizer_json + b"\n")
    expected = CaptionTokenizer.from_bytes(tokenizer_json).sha256
    with pytest.raises(DigestMismatchError) as caught:
        CaptionTokenizer.from_file(path, expected)
    assert expected in str(caught.value)
    assert caught.value.actual in str(caught.value)
    assert caught.value.actual != expected
    assert str(path) in str(caught.value)
    assert CaptionTokenizer.from_file(path, caught.value.actual).sha256 == caught.value.actual


def test_a_contract_made_with_another_tokenizer_is_refused(tokenizer: CaptionTokenizer) -> None:
    feature = CaptionFeature(tokenizer_sha256="0" * 64, max_tokens=4, encoder=HashEncoder(buckets=9))
    with pytest.raises(DigestMismatchError, match=f"{tokenizer.sha256}; expected {'0' * 64}"):
        tokenizer.verify(feature)
    tokenizer.verify(feature.model_copy(update={"tokenizer_sha256": tokenizer.sha256}))


def test_an_encoder_whose_vocabulary_is_too_small_is_refused(tokenizer: CaptionTokenizer) -> None:
    encoder = IdentityEncoder(vocabulary_size=tokenizer.vocabulary_size - 1)
    feature = CaptionFeature(tokenizer_sha256=tokenizer.sha256, max_tokens=4, encoder=encoder)
    with pytest.raises(TokenizerError, match=f"expected at least {tokenizer.vocabulary_size}"):
        tokenizer.verify(feature)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"model": {"type": "BPE"}}', b"\xff\xfe"])
def test_a_file_that_is_no_tokenizer_is_refused(data: bytes) -> None:
    with pytest.raises(TokenizerError, match=r"^tokenizer\.json: "):
        CaptionTokenizer.from_bytes(data)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"absent\.json: cannot be read"):
        CaptionTokenizer.from_file(tmp_path / "absent.json")


@pytest.mark.parametrize("wrong", ["a caption", ["good", None], ["good", b"bytes"], ["good", 3]])
def test_what_is_no_list_of_strings_is_refused(tokenizer: CaptionTokenizer, wrong: object) -> None:
    with pytest.raises(TokenizerError, match="text"):
        tokenizer.encode(wrong)  # type: ignore[arg-type]
