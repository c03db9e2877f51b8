"""Whether a framework can be used as its options say: that it is there, and runs the execution."""

from pathlib import Path

from distlab.backends import registry
from distlab.environment import kept
from distlab.errors import DistlabError
from distlab.experiment.options import FrameworkOptions, Options
from distlab.models import shipped


def check_executions(options: Options) -> None:
    """Refuse an execution that the framework does not run, and defaults of unknown models."""
    framework = options.framework
    for model, execution in framework.execution_by_model.items():
        asked = f"framework.execution_by_model.{model}={execution}"
        models = dict.fromkeys((options.model.name, *shipped.NAMES))
        if model not in models:
            known = ", ".join(models)
            fix = f"framework.execution_by_model.{next(iter(models))}={execution}"
            raise DistlabError(asked, f"the models are {known}", fix)
        if execution not in framework.executions:
            raise _not_run(asked, framework, f"framework.execution_by_model.{model}")
    resolved = options.resolved_execution
    if resolved not in framework.executions:
        asked = f"framework={framework.name} execution={resolved}"
        raise _not_run(asked, framework, "execution")


def _not_run(asked: str, framework: FrameworkOptions, option: str) -> DistlabError:
    found = f"{framework.name} runs {' and '.join(framework.executions)} only"
    return DistlabError(asked, found, f"{option}={framework.executions[0]}")


def interpreter_of(framework: FrameworkOptions) -> Path | None:
    """The Python that a framework's workers start with; None for the one that is there anyway.

    Raises
    ------
    DistlabError
        If what is asked for is not there, with the command that makes it.
    """
    if framework.runtime_env:
        return None
    return kept.interpreter(
        *(framework.name, framework.package, framework.extra),
        *(framework.environment, framework.version),
    )


def check_installed(framework: FrameworkOptions) -> None:
    """Refuse a framework that isn't there, without importing it."""
    if not registry.is_known(framework.name):
        raise DistlabError(
            f"framework={framework.name}",
            f"backends are installed for {', '.join(sorted(registry.available()))}",
            "install the package that offers this backend, or name one as module:Class",
        )
    environment = framework.environment
    if not framework.runtime_env:
        interpreter_of(framework)
    elif environment not in (None, kept.AUTO):
        raise DistlabError(
            f"framework.environment={environment} and a framework.runtime_env",
            "each of them says where the workers' framework is",
            "one of them: framework.runtime_env=null",
        )
