"""Masking values of a config that look like secrets, before it is logged."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
_SECRET = re.compile(
    r"(^|[_-])(passwords?|passwd|secrets?|tokens?|(api|access|private)[_-]?keys?|credentials?)$", re.IGNORECASE
)
_ADDRESS = re.compile(r"(\w+://)[^/\s@]+@")


def masked(config: Any) -> Any:
    """The config with secrets masked: values of keys such as ``api_key`` or ``token``, and passwords in addresses.

    >>> masked({"api_key": "abc", "mask_key": "mask", "uri": "https://me:pw@host/x"})
    {'api_key': '***', 'mask_key': 'mask', 'uri': 'https://***@host/x'}
    """
    if isinstance(config, Mapping):
        return {key: _masked_value(str(key), value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [masked(value) for value in config]
    return _ADDRESS.sub(rf"\1{MASK}@", config) if isinstance(config, str) else config


def _masked_value(key: str, value: Any) -> Any:
    is_plain = isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
    return MASK if _SECRET.search(key) and is_plain else masked(value)
