"""What a rank of the conformance suite notes: values that the driver can read, kept in a file."""

import io
import pickle
from pathlib import Path
from typing import Any


class Notes:
    """Notes by name; saved as often as wanted, so that they survive what comes next.

    Attributes
    ----------
    values:
        What was noted; under ``foreign``, by name, why a value could not be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: dict[str, Any] = {"foreign": {}}

    def note(self, name: str, value: Any) -> None:
        """Note a value, if the process that reads it can do so without the framework."""
        try:
            _Plain(io.BytesIO()).dump(value)
            self.values[name] = value
        except TypeError as error:
            self.values["foreign"][name] = str(error)

    def save(self) -> None:
        """Write all notes to the file, whole or not at all."""
        partial = self._path.with_suffix(".partial")
        partial.write_bytes(pickle.dumps(self.values))
        partial.replace(self._path)


class _Plain(pickle.Pickler):
    """Refuses values of a framework's types: the driver, which reads them, doesn't import it."""

    def reducer_override(self, obj: Any) -> Any:
        """Called for all that is not exactly of a built-in type."""
        if type(obj).__module__.split(".")[0] not in ("builtins", "numpy", "distlab"):
            kind = f"{type(obj).__module__}.{type(obj).__qualname__}"
            raise TypeError(f"{obj!r:.60} is a {kind}, no plain Python or NumPy value")
        return NotImplemented
