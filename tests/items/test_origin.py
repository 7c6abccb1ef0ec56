"""Who may write into a store that holds rows."""

import pytest

from models.items import ItemStoreError, ItemStoreOriginError, Origin
from serving.items.origin import claimed, decoded, encoded

OLD, NEW, OTHER = (f"sha256:{letter * 64}" for letter in "abc")


def test_an_empty_store_is_anyones() -> None:
    mine = Origin("/shop", NEW)
    assert claimed(None, True, mine, "-") == mine


def test_a_data_set_that_grew_at_its_place_is_the_same_one_and_its_earlier_digests_are_kept() -> None:
    grown = claimed(Origin("/shop", OLD), False, Origin("/shop", NEW), "-")
    assert grown == Origin("/shop", NEW, (OLD,))
    assert grown.includes(OLD)
    assert claimed(grown, False, Origin("/shop", OLD), "-") == Origin("/shop", OLD, (NEW,))
    assert claimed(grown, False, Origin("/shop", NEW), "-") == grown
    many = claimed(Origin("/shop", OLD, tuple(map(str, range(500)))), False, Origin("/shop", NEW), "-")
    assert (len(many.earlier), many.earlier[0]) == (100, OLD)


def test_a_data_set_that_was_moved_is_the_same_one() -> None:
    assert claimed(Origin("/shop", OLD), False, Origin("s3://shop", OLD), "-") == Origin("s3://shop", OLD)


def test_another_data_set_is_refused_with_both_names_and_the_command_that_replaces() -> None:
    with pytest.raises(ItemStoreOriginError) as refused:
        claimed(Origin("/demo", OTHER), False, Origin("/shop", NEW), "sightline caption --dataset /shop --replace-data")
    said = str(refused.value)
    assert f"holds /demo ({OTHER[:19]})" in said
    assert f"/shop ({NEW[:19]}) may have other items under the same ids" in said
    assert said.endswith("sightline caption --dataset /shop --replace-data")
    assert claimed(Origin("/demo", OTHER), False, Origin("/shop", NEW), "-", replace=True) == Origin("/shop", NEW)


def test_a_store_of_an_earlier_version_does_not_say_whose_it_is() -> None:
    with pytest.raises(ItemStoreOriginError, match="does not say of which data set it is"):
        claimed(None, False, Origin("/shop", NEW), "-")
    assert claimed(None, False, Origin("/shop", NEW), "-", replace=True) == Origin("/shop", NEW)


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"place": "x", "digest": "y", "earlier": 1}'])
def test_what_is_no_origin_is_refused(value: bytes) -> None:
    with pytest.raises(ItemStoreError, match=r"store: .* caption the catalogue again"):
        decoded(value, "store")
    assert decoded(encoded(Origin("/ü", OLD, (NEW,))), "store") == Origin("/ü", OLD, (NEW,))
