"""The best trial of a search, written as a preset, trains the same config."""

import pytest

from qframe.config import build
from qframe.config.compose import compose
from qframe.config.hydra_app import hydra_app
from qframe.runs.folder import write_json
from qframe.sweeps.best_preset import write_preset
from qframe.sweeps.folder import SweepFolder


@pytest.mark.parametrize(
    "overrides",
    [
        ("experiment=cartpole_c51", "head.num_atoms=21", "optimizer.lr=0.0003", "trunk.num_cells=[32]", "seed=2"),
        ("sweep=quantile", "priorities=proportional", "head.kappa=0.0", "total_frames=20k", "seed=1"),
    ],
)
def test_the_preset_composes_the_config_of_the_trial(tmp_path, overrides):
    with hydra_app() as app:
        line = write_preset(SweepFolder(tmp_path), app.config_loader, overrides)
    assert line.endswith(f"qframe train --config-dir {tmp_path / 'presets'} experiment=best")
    expected = compose(overrides, provided=build.PROVIDED)
    found = compose(["experiment=best", overrides[-1]], tmp_path / "presets", provided=build.PROVIDED)
    expected.name = found.name = "any"
    assert found == expected


def test_a_preset_that_needs_ones_own_options_is_to_be_copied_beside_them(tmp_path):
    folder = SweepFolder(tmp_path)
    write_json(folder.record, {"config_dir": "/home/me/own"})
    with hydra_app() as app:
        line = write_preset(folder, app.config_loader, ("gamma=0.9", "seed=1"))
    assert line.endswith("copy it to /home/me/own/experiment/ and train it: "
                         "qframe train --config-dir /home/me/own experiment=best")  # fmt: skip
