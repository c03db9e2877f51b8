import json

from distlab.outcome import environment


def test_the_record_names_the_machine_and_its_packages() -> None:
    found = json.loads(json.dumps(environment.describe()))
    assert found["packages"]["ray"] and found["packages"]["mlflow"]
    assert found["python"] and found["platform"] and found["processor"]
    assert found["cpus"] >= 1
