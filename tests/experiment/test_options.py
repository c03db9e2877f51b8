from pathlib import PurePath

import hydra
import pytest

from distlab.experiment import words
from distlab.experiment.options import CONF, register


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["model=mlp"], "torch_mlp"),
        (["framework=tf", "model.name=a/b"], "tf_a_b"),
        # Framework and model are the other run's, which only the store knows.
        (["resume=60306e60aa1e4b0f9d2f1c0a3b5d7e9f"], "resumed_60306e60"),
        (["resume=60306e6"], "resumed_60306e6"),
    ],
)
def test_a_folder_says_which_run_is_in_it(arguments: list[str], name: str) -> None:
    register()
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        composed = hydra.compose("config", words.understood(arguments), return_hydra_config=True)
    folder = PurePath(composed.hydra.run.dir)
    assert folder.parts[0] == "outputs" and folder.name.partition("_")[2] == name
