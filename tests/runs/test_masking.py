import pytest

from qframe.runs.masking import masked


@pytest.mark.parametrize("key", ["api_key", "apikey", "API_KEY", "password", "wandb_token", "secret", "access-key"])
def test_secrets_are_masked(key):
    assert masked({"logger": {key: "abc"}}) == {"logger": {key: "***"}}
    assert masked({key: 1234}) == {key: "***"}


def test_other_keys_are_not():
    config = {"mask_key": "mask", "keys": ["a"], "token_size": 3, "tokens_per_s": 1, "key": "x", "token": None}
    assert masked(config) == config
    assert masked({"password": True}) == {"password": True}


def test_passwords_in_addresses_are_masked_inside_lists_too():
    assert masked(["http://me:pw@host/a", "sqlite:///x.db"]) == ["http://***@host/a", "sqlite:///x.db"]
