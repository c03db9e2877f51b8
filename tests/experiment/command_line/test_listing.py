"""What ``--help`` shows of the options."""

import re
from collections.abc import Callable

import yaml
from omegaconf import DictConfig

from distlab.experiment.command_line.listing import WIDTH, listed


def test_options_are_shown_as_they_are_typed(compose: Callable[..., DictConfig]) -> None:
    given = ("framework=torch", "cluster.start_timeout_s=60", "data.dir=null", "execution=eager")
    shown = listed(compose(*given)).splitlines()
    text = " ".join(line.strip() for line in shown)
    assert max(map(len, shown)) <= WIDTH
    assert text.startswith("gpus=null device=auto execution=eager ")
    assert " cluster: mode=local address=null start_timeout_s=60.0 " in text
    assert " target_accuracy=${model.target_accuracy} " in text


def test_every_option_is_shown_once(compose: Callable[..., DictConfig]) -> None:
    config = compose("framework=torch", "model=lenet5")
    text = " ".join(line.strip() for line in listed(config).splitlines())
    groups = [name for name in config if isinstance(config._get_node(name), DictConfig)]
    assert re.findall(r"\b(\w+): \w+=", text) == groups
    for group in groups:
        (line,) = re.findall(rf"\b{group}: (.*?)(?= \w+: \w+=|$)", text)
        for name in config[group]:
            assert len(re.findall(rf"(?:^| ){name}=", line)) == 1, (group, name)
    (layers,) = re.findall(r"layers=(\[.*\]) hidden", text)
    assert len(yaml.safe_load(layers)) == len(config.model.layers)
