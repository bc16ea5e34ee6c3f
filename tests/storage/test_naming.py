"""Keys: the same on every machine and day, different for different settings, and names that stay inside the lake."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from humwatch.storage.naming import component_text, digest, path_component, settings_key

# No name of a file, a member or a column holds a NUL: the empty text is written as one.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20) | st.text(
    alphabet="./\\%=~ #?", max_size=6
)


def test_a_digest_is_the_sha256_of_canonical_json():
    # printf '%s' '{"a":0.5,"b":[1,null,"\u00e9"]}' | sha256sum
    assert digest({"b": [1, None, "é"], "a": 0.5}, 16) == "486cd2cda92e18d5"
    assert digest({"a": 0.5, "b": (1, None, "é")}) == "486cd2cda92e"


@pytest.mark.parametrize("other", [{"a": 1.0}, {"a": "1"}, {"a": True}, {"a": None}, {}, {"b": 1}, [{"a": 1}]])
def test_different_values_have_different_digests(other):
    assert digest(other) != digest({"a": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": {1}}, b"bytes"])
def test_what_json_cannot_say_has_no_digest(value):
    with pytest.raises((ValueError, TypeError)):
        digest(value)


def test_a_settings_key_is_readable_and_ends_in_the_digest_of_its_settings():
    # printf '%s' '{"n_mels":64}' | sha256sum
    assert settings_key(("logmel", 64, "resnet18@layer3/2x2"), {"n_mels": 64}) == "logmel-64-resnet18_layer3_2x2-673a8a"
    assert settings_key(("a",), {"n_mels": 64}) != settings_key(("a",), {"n_mels": 65})


def test_a_settings_key_is_one_path_component_however_long_or_odd_its_words():
    key = settings_key(("../..", "é" * 3, "x" * 500), {})
    assert set(key) <= set(string.ascii_letters + string.digits + ".-_")
    assert len(key) <= 87
    assert key not in {".", ".."}


@given(TEXT)
def test_any_text_becomes_one_path_component_and_comes_back(text):
    component = path_component(text)
    assert component_text(component) == text
    assert component not in {"", ".", ".."}
    assert not set(component) & set("/\\\0=?#")


@given(TEXT, TEXT)
def test_two_texts_never_share_a_component(one, other):
    assert (path_component(one) == path_component(other)) == (one == other)


def test_plain_names_stay_readable():
    for name in ("fan", "id_00", "-6_dB", "2026-11-21", "id_00@site A"):
        assert path_component(name) == name
