"""Composes as ever, but several times as fast, because the suite composes a thousand configs.

Files are merged again, and parsed again, only if one of them has changed.
"""

import copy
import os
from dataclasses import replace
from pathlib import Path

from hydra._internal import defaults_list
from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType

from qframe.config import compose

merged_files = compose.merged_files
load_config = ConfigRepository.load_config
create_interpolation_map = defaults_list._create_interpolation_map
MOST = 64
merged, parsed = {}, {}


def install():
    compose.merged_files = merge_once
    ConfigRepository.load_config = parse_once
    defaults_list._create_interpolation_map = map_if_read


def merge_once(loader, choices, mode):
    folders = [source.path for source in loader.get_sources() if source.scheme() == "file"]
    key = (*choices, mode, os.getcwd(), *(stamp for folder in folders for stamp in stamps(folder)))
    if key not in merged:
        if len(merged) == MOST:
            merged.clear()
        merged[key] = merged_files.__wrapped__(loader, choices, mode)
    return merged[key]


def stamps(folder):
    """Name, time of change and size of all YAML files in a folder."""
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from stamps(entry.path)
        elif entry.name.endswith(".yaml"):
            yield entry.path, entry.stat().st_mtime_ns, entry.stat().st_size


def parse_once(repository, config_path):
    """Parses a file again only if its content has changed."""
    source = repository._find_object_source(config_path, ObjectType.CONFIG)
    if source is None:
        return None
    is_file = source.scheme() == "file"
    content = Path(source.path, f"{config_path.removesuffix('.yaml')}.yaml").read_bytes() if is_file else source.path
    if (key := (source.scheme(), config_path, content)) not in parsed:
        parsed[key] = load_config(repository, config_path)
    return replace(copy.deepcopy(parsed[key]), path=source.full_path(), provider=source.provider)


def map_if_read(overrides, entries, self_added):
    """Makes the map of all choices for a defaults list only if one of its entries is interpolated."""
    is_read = any(entry.is_interpolation() for entry in entries)
    return create_interpolation_map(overrides, entries, self_added) if is_read else {}
