"""Runs and studies that are read back: whatever version wrote them, checked before they are used.

They have the types of :mod:`distlab.outcome.schema`: those that this version writes, exactly. In
one of an earlier version, a field may be missing that it did not know, but for those without which
there is no run.
"""

from collections.abc import Callable, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model

from distlab.outcome.restored.bounds import NotRestoredError
from distlab.outcome.run_fields import Run
from distlab.outcome.schema import VERSION, Environment, FailedRun, Study, StudyRun

LEAST = 1e-12
"""Of a figure whose logarithm is taken."""

RUN = frozenset(
    {"framework", "execution", "model", "device", "world_size", "scaling", "batch_size"}
    | {"cell", "repeat", "verified", "checks", "throughput_samples_per_s", "mlflow"}
    | {"epoch_time_s", "test_accuracy", "parameters"}
)
"""What makes a record a run, whatever version wrote it."""
FAILED = frozenset(
    {"framework", "execution", "model", "device", "world_size", "scaling", "batch_size"}
    | {"cell", "repeat", "error"}
)
"""The same of a run that failed."""
POSITIVE = ("throughput_samples_per_s", "time_to_accuracy_s", "model_flop_utilisation", "speedup")
"""Figures whose logarithms are taken where they are known."""
LOSSES = ("train_loss", "test_loss", "first_losses", "loss")
"""Lists in which earlier versions wrote NaN, which is read as null, for a loss that was none."""

LISTS: dict[str, tuple[type[BaseModel], frozenset[str]]] = {
    "runs": (StudyRun, RUN),
    "failed": (FailedRun, FAILED),
    "baselines": (StudyRun, RUN - {"cell"}),
}


def run(values: Any) -> dict[str, Any]:
    """A run's record, of JSON as :func:`distlab.outcome.restored.bounds.parsed` gives it.

    Raises
    ------
    NotRestoredError
        If it is none.
    """
    found = _checked(values, Run, RUN - {"cell"})
    _exactly(found, Run)
    _sensible(found, "")
    return found


def study(values: Any) -> dict[str, Any]:
    """A study's record, of JSON as :func:`distlab.outcome.restored.bounds.parsed` gives it.

    Raises
    ------
    NotRestoredError
        If it is none, or a run in it is not.
    """
    if not isinstance(values, Mapping):
        raise NotRestoredError("it is no study")
    if missing := [name for name in ("study", "runs") if values.get(name) in (None, "")]:
        raise NotRestoredError(f"it is no study: it has no {' and no '.join(missing)}")
    own = {name: inner for name, inner in values.items() if name not in LISTS}
    found = _checked(own, Study, frozenset({"study"}))
    for name, (model, needed) in LISTS.items():
        entries = values.get(name) or []
        if not isinstance(entries, list):
            raise NotRestoredError(f"{name} is no list")
        found[name] = [
            _checked(entry, model, needed, f"{name}.{place}.")
            for place, entry in enumerate(entries)
        ]
        if model is not FailedRun:
            for place, entry in enumerate(found[name]):
                _sensible(entry, f"{name}.{place}.")
    return found


def environment(values: Any) -> dict[str, Any]:
    """The record of a machine and its software.

    Raises
    ------
    NotRestoredError
        If it is none.
    """
    return _checked(values, Environment, frozenset())


def _checked(
    values: Any, model: type[BaseModel], needed: frozenset[str], where: str = ""
) -> dict[str, Any]:
    """The values, if they have the types of a model, without nulls that none of them allows."""
    if not isinstance(values, Mapping):
        raise NotRestoredError(f"{where.rstrip('.') or 'it'} is no record")
    earlier = values.get("schema_version") is None
    try:
        _adapter(model, needed, earlier).validate_python(values)
    except ValidationError as error:
        raise _told(error, where) from None
    return {
        name: value
        for name, value in values.items()
        if value is not None or name not in model.model_fields or _nullable(model, name)
    }


def _nullable(model: type[BaseModel], name: str) -> bool:
    """Whether a field may be null in a record of this version, or as earlier ones wrote it."""
    return name == "schema_version" or type(None) in get_args(model.model_fields[name].annotation)


def _exactly(found: Mapping[str, Any], model: type[BaseModel]) -> None:
    """Refuse a record of this version that is not just what it writes, and one of a later one."""
    version = found.get("schema_version")
    if version is None or (isinstance(version, int) and version < VERSION):
        return
    if version != VERSION:
        raise NotRestoredError(f"a later version of distlab wrote it (schema {version!r:.20})")
    try:
        model.model_validate(found)
    except ValidationError as error:
        raise _told(error, "") from None


def _told(error: ValidationError, where: str) -> NotRestoredError:
    """The first thing that is wrong, and where it stands."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = where + ".".join(str(part) for part in first["loc"] if part not in ("now", "earlier"))
    return NotRestoredError(f"{place[:200]}: {first['msg'][:200]}")


def _sensible(found: Mapping[str, Any], where: str) -> None:
    """Refuse a run whose figures no figure can be made of."""
    for name in POSITIVE:
        if (value := found.get(name)) is not None and value < LEAST:
            raise NotRestoredError(f"{where}{name} is not positive")
    if not found["epoch_time_s"] or min(found["epoch_time_s"]) < LEAST:
        raise NotRestoredError(f"{where}epoch_time_s: an epoch takes no time, or there is none")
    if not found["test_accuracy"]:
        raise NotRestoredError(f"{where}test_accuracy: there is no epoch")
    share = found.get("communication_share")
    if share is not None and 1 - share < LEAST:
        raise NotRestoredError(f"{where}communication_share is all of the time")
    curve = found.get("loss_curve") or {}
    steps, losses = (curve.get(name) or [] for name in ("step", "loss"))
    if len(steps) != len(losses):
        raise NotRestoredError(f"{where}loss_curve: a step has no loss, or a loss no step")


@cache
def _adapter(model: type[BaseModel], needed: frozenset[str], earlier: bool) -> TypeAdapter[Any]:
    return TypeAdapter(_relaxed(model, needed, earlier))


def _relaxed(model: type[BaseModel], needed: frozenset[str], earlier: bool) -> type[BaseModel]:
    """The model with fields that may be missing or null, but those needed, and others beside."""
    many: Any = list
    named: Any = dict

    def loose(annotation: Any, name: str) -> Any:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return _relaxed(annotation, frozenset(), earlier)
        origin, inner = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return Annotated[loose(inner[0], name), *inner[1:]]
        if origin in (Union, UnionType):
            return Union[tuple(loose(one, name) for one in inner)]  # noqa: UP007
        if origin is list:
            entry = loose(inner[0], name)
            return many[entry | None] if earlier and name in LOSSES else many[entry]
        if origin is dict:
            return named[inner[0], loose(inner[1], name)]
        return annotation

    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if name in LISTS or name == "schema_version":
            continue
        kind = loose(field.annotation, name)
        kind = Annotated[kind, *field.metadata] if field.metadata else kind
        fields[name] = (kind, ...) if name in needed else (kind | None, None)
    made: Callable[..., type[BaseModel]] = create_model
    strict = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=())
    return made(f"Relaxed{model.__name__}", __config__=strict, **fields)
