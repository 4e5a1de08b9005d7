"""The JSON schema of presets: current, and it accepts every preset and rejects mistyped keys and types."""

import json

import jsonschema
import pytest
import yaml

from scripts import preset_schema

PRESETS = sorted((preset_schema.CONF / "experiment").glob("*.yaml"))


@pytest.fixture(scope="module")
def schema():
    return json.loads(preset_schema.FILE.read_text(encoding="utf-8"))


def test_the_file_is_current():
    assert preset_schema.FILE.read_text(encoding="utf-8") == preset_schema.written(), "make schema writes it"


def test_it_is_a_schema(schema):
    jsonschema.Draft7Validator.check_schema(schema)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_accepted(schema, preset):
    jsonschema.validate(yaml.safe_load(preset.read_text(encoding="utf-8")), schema)


@pytest.mark.parametrize(
    "text",
    [
        "total_frame: 1000", "seed: [1]", "optimizer: {lr: fast}", "env: 3", "replay: {capacity: many}",
        "optimizer: {lr_schedule: linar}", "network: {noisy: 1}", "defaults: [{override /heads: scalar}]",
    ],
)  # fmt: skip
def test_a_mistake_is_marked(schema, text):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), schema)


def test_numbers_may_be_written_with_a_suffix(schema):
    jsonschema.validate({"total_frames": "1M", "replay": {"capacity": "50k"}}, schema)


def test_keys_carry_their_comments(schema):
    assert "learning rate" in schema["properties"]["optimizer"]["properties"]["lr"]["description"]
