"""The other launch files, by the schemas and the tools of those who read them."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

LAUNCH = Path(__file__).parents[2] / "launch"
CRDS = os.environ.get("DISTLAB_KUBERAY_CRDS")
"""The folder ``ray-operator/config/crd/bases`` of a checkout of KubeRay."""


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((LAUNCH / name).read_text()))


@pytest.mark.parametrize("file", sorted(LAUNCH.iterdir()), ids=lambda file: file.name)
def test_a_file_begins_with_its_one_command_and_where_it_was_run(file: Path) -> None:
    text = file.read_text()
    header = re.match(r"(?:#!.*\n)?((?:#.*\n)+)", text)
    assert header
    commands = re.findall(r"(?m)^#     (\S.*)$", header[1])
    assert f"launch/{file.name}" in commands[0]
    assert re.search(r"(?i)\bnot yet (run|built)|Run in distlab's tests", header[1])


@pytest.mark.parametrize("name", ["kuberay-cluster.yaml", "kuberay-job.yaml"])
@pytest.mark.skipif(
    not CRDS,
    reason="NOT CHECKED AGAINST KUBERAY'S SCHEMA: DISTLAB_KUBERAY_CRDS names no folder of it",
)
def test_kuberay_would_take_it(name: str) -> None:
    for document in documents(name):
        kind, _, version = document["kind"].lower(), *document["apiVersion"].partition("/")[1:]
        if document["apiVersion"].startswith("ray.io/"):
            definition = yaml.safe_load((Path(CRDS or "") / f"ray.io_{kind}s.yaml").read_text())
            (schema,) = (
                one["schema"]["openAPIV3Schema"]
                for one in definition["spec"]["versions"]
                if one["name"] == version
            )
            jsonschema.validate(document, closed(schema))


def closed(schema: Any) -> Any:
    """The schema, as Kubernetes applies it: a name that it doesn't know would be dropped."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    known = {name: closed(value) for name, value in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        if "metadata" in schema["properties"]:
            known["properties"]["metadata"] = {}
        known["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        known.pop("type", None)
    return known


@pytest.mark.parametrize("name", ["kuberay-cluster.yaml", "kuberay-job.yaml"])
def test_a_ray_on_kubernetes_keeps_strangers_out_and_ranks_off_the_head(name: str) -> None:
    ray = documents(name)[-1]["spec"]
    ray = ray.get("rayClusterSpec", ray)
    assert ray["authOptions"] == {"mode": "token"}
    assert ray["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}


def test_ray_up_would_take_it() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    (config,) = documents("ray-up.yaml")
    validate_config(prepare_config(config))
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config({**config, "file_mount": {}}))


@pytest.mark.skipif(
    not shutil.which("podman-compose"), reason="NOT READ BY COMPOSE: pip install podman-compose"
)
def test_compose_reads_it() -> None:
    done = subprocess.run(
        ["podman-compose", "-f", LAUNCH / "compose.yaml", "config"],
        env={**os.environ, "POSTGRES_PASSWORD": "secret"},
        capture_output=True,
        text=True,
        check=True,
    )
    services = yaml.safe_load(done.stdout)["services"]
    assert set(services) == {"postgresql", "mlflow", "head", "worker"}
    assert "secret" in services["mlflow"]["command"][2]


def test_ray_up_starts_workers_by_the_autoscaler_that_knows_machines_of_ones_own() -> None:
    (config,) = documents("ray-up.yaml")
    assert config["provider"]["type"] == "local"
    assert "RAY_enable_autoscaler_v2=0 " in config["head_start_ray_commands"][-1]


SKY = shutil.which("sky")
READ_BY_SKYPILOT = """
import sys, yaml, sky
with open(sys.argv[1]) as file:
    told = yaml.safe_load(file)
task = sky.Task.from_yaml_config(told, secrets_overrides=[("RAY_AUTH_TOKEN", "secret")])
print(task.num_nodes, *task.resources, *task.secrets)
"""


@pytest.mark.skipif(
    not SKY, reason="NOT READ BY SKYPILOT: sky, of pip install skypilot in its own venv, on PATH"
)
def test_skypilot_reads_it(tmp_path: Path) -> None:
    def read(file: Path) -> "subprocess.CompletedProcess[str]":
        python = Path(SKY or "").with_name("python")
        settings = {"HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
        without = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [python, "-c", READ_BY_SKYPILOT, file],
            env={**without, **settings},
            cwd=LAUNCH.parent,
            capture_output=True,
            text=True,
        )

    done = read(LAUNCH / "skypilot.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 <Cloud>({'A100': 4}) RAY_AUTH_TOKEN"
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((LAUNCH / "skypilot.yaml").read_text().replace("num_nodes", "nodes"))
    assert "nodes" in read(wrong).stderr


def test_a_worker_of_compose_waits_until_the_name_of_the_head_leads_somewhere() -> None:
    (file,) = documents("compose.yaml")
    assert "head" in file["services"]["worker"]["depends_on"]


def test_compose_lets_in_who_is_on_this_machine_alone() -> None:
    (file,) = documents("compose.yaml")
    ports = [port for one in file["services"].values() for port in one.get("ports", [])]
    assert ports == ["127.0.0.1:5000:5000"]
