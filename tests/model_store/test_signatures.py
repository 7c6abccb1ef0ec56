"""Signed and pinned bundles: whoever can write to a store can make it consistent, and nothing else."""

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from models.bundle import SIGNATURE, read_bundle
from models.store.entry import Entry
from models.store.errors import ModelStoreError, UntrustedError
from models.store.fetch import fetch_bundle, fetch_repository, opened, read_signed, sign_at, verify
from models.store.folder import LocalFolder
from models.store.keys import key_id, make_key, private_key, public_keys, signing_key
from models.store.signature import Signature
from models.store.source import Source
from models.store.store import ModelStore
from models.store.trust import KEYS, REQUIRE, Trust, unpinned

NOW = "2026-11-24T10:00:00+00:00"


@pytest.fixture
def keys(tmp_path):
    """Two pairs, by name: the site's and somebody else's."""
    for name in ("site", "other"):
        make_key(tmp_path / f"{name}.pem", tmp_path / f"{name}.pub.pem")
    return tmp_path


@pytest.fixture
def site(keys):
    return private_key(str(keys / "site.pem"), "--key")


@pytest.fixture
def demanded(keys, monkeypatch):
    monkeypatch.setenv(KEYS, str(keys / "site.pub.pem"))
    monkeypatch.setenv(REQUIRE, "signature")


@pytest.fixture
def store(tmp_path):
    return ModelStore.at(str(tmp_path / "store"))


def poisoned(store, new_bundle, folder, number=1):
    """The entry replaced by an attacker's, every digest in it right: what a writer of the store can do."""
    bad = new_bundle(folder / "bad", weight=b"poison")
    made = ModelStore.at(str(folder / "elsewhere"))
    for _ in range(number):
        entry = made.publish(bad.path, created=NOW)
    place = f"{folder}/store/ranker/{number}"
    signature = LocalFolder(folder / "store" / "ranker" / str(number))
    kept = b"".join(signature.chunks(SIGNATURE)) if signature.has(SIGNATURE) else None
    shutil.rmtree(place)
    shutil.copytree(entry.uri, place)
    if kept is not None:
        (folder / "store" / "ranker" / str(number) / SIGNATURE).write_bytes(kept)
    return place


def test_a_poisoned_entry_whose_digests_are_all_right_is_refused(store, bundle, site, new_bundle, tmp_path, demanded):
    store.publish(bundle.path, created=NOW, key=site)
    place = poisoned(store, new_bundle, tmp_path)
    assert verify(place, Trust()).entry is not None  # nothing in it tells: it is whole and consistent
    for use in (
        verify,
        Source.at,
        lambda uri: fetch_bundle(uri, tmp_path / "to"),
        lambda uri: fetch_repository(uri, tmp_path / "to", platform="python"),
        lambda uri: opened(uri).__enter__(),
    ):
        with pytest.raises(UntrustedError, match="or what it signed was replaced"):
            use(place)
    assert not (tmp_path / "to").exists()


def test_a_poisoned_entry_without_its_signature_is_refused(store, bundle, site, new_bundle, tmp_path, demanded):
    store.publish(bundle.path, created=NOW, key=site)
    place = poisoned(store, new_bundle, tmp_path)
    os.remove(f"{place}/{SIGNATURE}")
    with pytest.raises(
        UntrustedError, match=r"is not signed, and this site demands a signature .*sightline models sign"
    ):
        fetch_bundle(place, tmp_path / "to")


def test_a_changed_repository_beside_an_unchanged_bundle_is_refused(store, bundle, site, tmp_path, demanded):
    """KServe serves the entry's own Triton repository: the signature covers it too."""
    uri = store.publish(bundle.path, created=NOW, key=site).uri
    entry = json.loads((tmp_path / "store/ranker/1/entry.json").read_text())
    entry["created"] = "2026-11-25T10:00:00+00:00"
    changed = Entry.model_validate({key: value for key, value in entry.items() if key != "self"})
    (tmp_path / "store/ranker/1/entry.json").write_bytes(changed.to_json())
    with pytest.raises(UntrustedError, match="what it signed was replaced"):
        verify(uri)


def test_a_signed_entry_passes_and_its_bundle_keeps_the_signature(store, bundle, site, tmp_path, demanded):
    uri = store.publish(bundle.path, created=NOW, key=site).uri
    assert verify(uri).bundle == bundle.id
    fetch_bundle(uri, tmp_path / "to")
    assert read_signed(tmp_path / "to").id == bundle.id
    with pytest.raises(UntrustedError, match="is not signed"):
        read_signed(bundle.path)


def test_an_older_signed_entry_in_a_newer_ones_place_is_refused(store, bundle, site, new_bundle, tmp_path, demanded):
    old = store.publish(bundle.path, created=NOW, key=site)
    new = store.publish(new_bundle(tmp_path / "new", weight=b"new").path, created=NOW, key=site)
    shutil.rmtree(new.uri)
    shutil.copytree(old.uri, new.uri)
    with pytest.raises(UntrustedError, match=r"holds the entry ranker/1, which was moved here"):
        verify(new.uri)


def test_the_signature_of_another_entry_is_refused(store, bundle, site, tmp_path, demanded):
    """Of the very same bundle, published twice."""
    first = store.publish(bundle.path, created=NOW, key=site)
    second = store.publish(bundle.path, created=NOW)
    shutil.copyfile(f"{first.uri}/{SIGNATURE}", f"{second.uri}/{SIGNATURE}")
    with pytest.raises(UntrustedError, match=r"signature of ranker/1, .* beside it lies ranker/2"):
        verify(second.uri)


def test_a_signature_of_a_bundles_folder_is_none_of_an_entry_and_the_other_way_round(
    store, bundle, site, tmp_path, demanded
):
    entry = store.publish(bundle.path, created=NOW, key=site)
    folder = shutil.copytree(bundle.path, tmp_path / "folder")
    shutil.copyfile(f"{entry.uri}/{SIGNATURE}", folder / SIGNATURE)
    with pytest.raises(UntrustedError, match="beside it lies"):
        verify(str(folder))
    sign_at(str(folder), site)
    assert verify(str(folder)).bundle == bundle.id
    shutil.copyfile(folder / SIGNATURE, f"{entry.uri}/{SIGNATURE}")
    with pytest.raises(UntrustedError, match="beside it lies"):
        verify(entry.uri)


def test_a_key_that_is_not_trusted_is_refused_by_both_names(store, bundle, keys, demanded):
    other = private_key(str(keys / "other.pem"), "--key")
    uri = store.publish(bundle.path, created=NOW, key=other).uri
    with pytest.raises(UntrustedError) as refused:
        verify(uri)
    for name in ("site", "other"):
        (public,) = public_keys(str(keys / f"{name}.pub.pem"), "--key")
        assert key_id(public) in str(refused.value)


def test_a_signature_under_a_trusted_keys_name_that_it_did_not_make_is_refused(store, bundle, site, keys, demanded):
    uri = store.publish(bundle.path, created=NOW, key=private_key(str(keys / "other.pem"), "--key")).uri
    path = Path(uri) / SIGNATURE
    document = json.loads(path.read_text())
    document["signatures"][0]["key"] = key_id(site.public_key())
    for value in (document["signatures"][0]["ed25519"], "", "AAAA", "no base64!"):
        document["signatures"][0]["ed25519"] = value
        path.write_text(json.dumps(document))
        with pytest.raises(UntrustedError, match="does not fit what it signs"):
            verify(uri)


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff", b'{"signatures": []}'])
def test_a_signature_that_is_none_is_refused_in_words(store, bundle, site, text, demanded):
    uri = store.publish(bundle.path, created=NOW, key=site).uri
    (Path(uri) / SIGNATURE).write_bytes(text)
    with pytest.raises(UntrustedError, match="is not a signature of format 1"):
        verify(uri)


def test_keys_are_rotated_by_signing_with_both_for_a_time(store, bundle, site, keys, monkeypatch, tmp_path):
    uri = store.publish(bundle.path, created=NOW, key=site).uri
    sign_at(uri, private_key(str(keys / "other.pem"), "--key"))
    sign_at(uri, private_key(str(keys / "other.pem"), "--key"))
    assert len(Signature.from_json(Source.at(uri).signature, "").signatures) == 2
    monkeypatch.setenv(REQUIRE, "signature")
    both = tmp_path / "both"
    both.mkdir()
    for name in ("site", "other"):
        shutil.copyfile(keys / f"{name}.pub.pem", both / f"{name}.pem")
    texts = [(keys / f"{name}.pub.pem").read_text() for name in ("site", "other")]
    for given in (*(str(keys / f"{name}.pub.pem") for name in ("site", "other")), str(both), *texts, "".join(texts)):
        monkeypatch.setenv(KEYS, given)
        assert verify(uri).bundle == bundle.id


def test_where_nothing_is_demanded_unsigned_bundles_pass_and_a_wrong_signature_does_not(
    store, bundle, keys, monkeypatch
):
    uri = store.publish(bundle.path, created=NOW).uri
    signed = store.publish(bundle.path, created=NOW, key=private_key(str(keys / "other.pem"), "--key")).uri
    assert verify(uri).bundle == verify(signed).bundle == bundle.id
    monkeypatch.setenv(KEYS, str(keys / "site.pub.pem"))
    assert verify(uri).bundle == bundle.id
    with pytest.raises(UntrustedError, match="and trusted are"):
        verify(signed)


def test_a_bundle_is_signed_on_s3_as_on_a_path(store_uri, bundle, site, demanded):
    uri = ModelStore.at(store_uri).publish(bundle.path, created=NOW).uri
    with pytest.raises(UntrustedError, match="is not signed"):
        verify(uri)
    assert sign_at(uri, site).number == 1
    assert verify(uri).bundle == bundle.id


def test_a_bundle_fetched_before_it_was_signed_gets_its_signature(store, bundle, site, keys, tmp_path, monkeypatch):
    uri = store.publish(bundle.path, created=NOW).uri
    fetch_bundle(uri, tmp_path / "to")
    sign_at(uri, site)
    fetch_bundle(uri, tmp_path / "to")
    monkeypatch.setenv(KEYS, str(keys / "site.pub.pem"))
    monkeypatch.setenv(REQUIRE, "signature")
    assert read_signed(tmp_path / "to").id == bundle.id


def test_a_signed_bundle_is_published_again_without_the_folders_signature(store, bundle, site):
    sign_at(str(bundle.path), site)
    assert read_bundle(bundle.path).id == bundle.id
    published = store.publish(bundle.path, created=NOW)
    assert verify(published.uri).bundle == bundle.id
    assert Source.at(published.uri).signature is None


def test_a_pinned_digest_gives_this_bundle_or_none(store, bundle, new_bundle, tmp_path):
    published = store.publish(bundle.path, created=NOW)
    assert verify(published.pinned).bundle == bundle.id
    assert fetch_bundle(published.pinned, tmp_path / "to").bundle == bundle.id
    with opened(f"{bundle.path}@{bundle.id}") as found:
        assert found.id == bundle.id
    poisoned(store, new_bundle, tmp_path)
    bad = verify(published.uri).bundle
    with pytest.raises(UntrustedError, match=f"holds bundle {bad}, and {bundle.id} is pinned"):
        fetch_bundle(published.pinned, tmp_path / "other")
    with pytest.raises(UntrustedError, match="is pinned"), opened(f"{bundle.path}@sha256:{'0' * 64}"):
        pass


@pytest.mark.parametrize(
    "pin", ["sha256:", "sha256:abc", f"sha256:{'A' * 64}", f"sha256:{'a' * 65}", f"sha256:{'a' * 64}/x"]
)
def test_a_digest_that_is_none_is_refused_and_not_ignored(pin):
    with pytest.raises(ModelStoreError, match="expected @sha256: and 64 hexadecimal digits"):
        unpinned(f"s3://bucket/models/ranker/7@{pin}")


def test_a_site_can_demand_a_digest(store, bundle, monkeypatch):
    published = store.publish(bundle.path, created=NOW)
    monkeypatch.setenv(REQUIRE, "digest")
    with pytest.raises(UntrustedError, match=r"given without a digest, .* model.trust.requireDigest"):
        verify(published.uri)
    with pytest.raises(UntrustedError, match="given without a digest"), opened(str(bundle.path)):
        pass
    assert verify(published.pinned).bundle == bundle.id


def test_what_is_demanded_and_cannot_be_is_refused(monkeypatch, store, bundle, keys):
    uri = store.publish(bundle.path, created=NOW).uri
    for environ, message in (
        ({REQUIRE: "signature"}, f"{KEYS} is empty"),
        ({REQUIRE: "signatures"}, r"has \['signatures'\]; expected signature, digest"),
        ({KEYS: "/nowhere.pem"}, "cannot be read"),
        ({KEYS: str(keys / "site.pem")}, "keep the private key to yourself"),
        ({KEYS: str(store._folder.path)}, "holds no public key"),
    ):
        with monkeypatch.context() as patched:
            for name, value in environ.items():
                patched.setenv(name, value)
            with pytest.raises(ModelStoreError, match=message):
                verify(uri)


def test_a_private_key_is_its_owners_alone_and_never_overwritten(keys):
    path = keys / "site.pem"
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ModelStoreError, match="never overwritten"):
        make_key(path, keys / "new.pub.pem")
    with pytest.raises(ModelStoreError, match="never overwritten"):
        make_key(keys / "new.pem", keys / "site.pub.pem")
    assert path.read_bytes() == before
    assert not (keys / "new.pem").exists()
    assert not (keys / "new.pub.pem").exists()


def test_a_key_of_another_kind_is_refused_without_its_text(keys, tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    key = generate_private_key(SECP256R1())
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    with pytest.raises(ModelStoreError, match="is not an ed25519 key") as refused:
        signing_key({"SIGHTLINE_SIGNING_KEY": text})
    assert text.splitlines()[1] not in str(refused.value)
    with pytest.raises(ModelStoreError, match="is not a private key"):
        private_key(str(keys / "site.pub.pem"), "--sign")
    assert signing_key({}) is None


def test_openssl_reads_the_keys_and_verifies_the_signature(store, bundle, site, keys, tmp_path):
    """The format is no invention: what is signed and the key are read by another program."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    import base64

    uri = store.publish(bundle.path, created=NOW, key=site).uri
    found = Signature.from_json(Source.at(uri).signature, "")
    (tmp_path / "text").write_bytes(found.statement.signed())
    (tmp_path / "signature").write_bytes(base64.b64decode(found.signatures[0].ed25519))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(keys / "site.pub.pem"), "-rawin"]
    command += ["-in", str(tmp_path / "text"), "-sigfile", str(tmp_path / "signature")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
