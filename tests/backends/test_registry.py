import pytest

from distlab.backends import registry
from distlab.errors import DistlabError


@pytest.mark.parametrize(
    ("framework", "known"),
    [("torch", True), ("mypackage.mymodule:MyBackend", True), ("nowhere", False)],
)
def test_installed_names_and_module_class_are_known(framework: str, known: bool) -> None:
    assert registry.is_known(framework) is known


@pytest.mark.parametrize(
    ("framework", "found", "fix"),
    [
        ("nowhere", "torch", "install the package"),
        ("no_such_module:Backend", "no_such_module", "PYTHONPATH"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_a_remedy(
    framework: str, found: str, fix: str
) -> None:
    with pytest.raises(DistlabError) as caught:
        registry.load(framework)
    assert framework in caught.value.asked
    assert found in caught.value.found and fix in caught.value.fix
