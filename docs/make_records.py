"""Prints docs/records.md, what each field of a record means, from its schema: ``make records``."""

from collections.abc import Iterator
from typing import Any

from distlab.outcome.schema import DOCUMENTS, VERSION, json_schema

START = f"""# Records

What `summary.json` (a run) and `study.json` (a study) hold: version {VERSION} of their schema
(`schema_version`). This page is made from the schema in the code by `make records`; the JSON Schema
(draft 2020-12) is printed by

```bash
python -m distlab.outcome.schema summary.json
python -m distlab.outcome.schema study.json
```

Both files are checked when they are written: no field is missing, none is there that isn't listed
here, and no number is NaN or infinite, so that any JSON parser reads them. A new version is made
when a field is added, renamed, removed or given another meaning. Records of earlier versions can
still be reported and stand in a study as they are.
"""


def page() -> str:
    """The whole page."""
    parts, seen = [START], set()
    for document in DOCUMENTS:
        told = json_schema(document)
        models = {document: told, **told["$defs"]}
        for name, model in models.items():
            if name not in seen:
                seen.add(name)
                meaning = _plain(model["description"])
                rows = _rows(model, told["$defs"])
                parts.append("\n".join([f"## {name}", "", meaning, "", *rows]))
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _rows(model: dict[str, Any], others: dict[str, Any]) -> Iterator[str]:
    yield "| field | type | meaning |"
    yield "|---|---|---|"
    for name, entry in model["properties"].items():
        model = others.get(entry.get("$ref", "").rpartition("/")[2], {})
        meaning = _plain({**model, **entry}["description"])
        yield f"| `{name}` | {_kind(entry)} | {meaning} |"


def _plain(text: str) -> str:
    """A docstring on one line, as Markdown."""
    return " ".join(text.replace("``", "`").split())


def _kind(entry: dict[str, Any]) -> str:
    """A type in words; models lead to their tables."""
    if "$ref" in entry:
        name = entry["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for choice in ("anyOf", "oneOf"):
        if choice in entry:
            return " or ".join(map(_kind, entry[choice]))
    if "const" in entry:
        return f"`{entry['const']}`"
    if "enum" in entry:
        return " or ".join(f"`{value}`" for value in entry["enum"])
    kind = str(entry.get("type", "any"))
    if kind == "array":
        return f"list of {_kind(entry['items'])}"
    if kind == "object" and isinstance(entry.get("additionalProperties"), dict):
        return f"object of {_kind(entry['additionalProperties'])}"
    return kind


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
