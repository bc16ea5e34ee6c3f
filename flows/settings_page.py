"""`docs/settings.md`, made from the settings: `python -m humwatch.flows.settings_page > docs/settings.md`."""

from __future__ import annotations

import sys

from pydantic import BaseModel

from humwatch.flows.presets import PRESETS
from humwatch.tasks.settings import Section, Settings

HEADER = """\
# Settings

Made from the code by `make docs`; do not edit. Sections are tables of the TOML file given with `--config`, and the part
before the dot in `--set section.key=value`. In the environment a field is `HUMWATCH_SECTION__KEY` (lists as JSON).
Precedence, highest first: `--set`, flags, configuration file, environment, preset.
"""


def page() -> str:
    """Return the page as Markdown."""
    lines = [HEADER]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if not (isinstance(section, type) and issubclass(section, Section)):
            continue
        lines += [f"## `{name}`: {field.description}", "", "| key | type | default | what |", "|---|---|---|---|"]
        lines += _rows(section)
        lines.append("")
    lines += ["## Presets", "", "What a preset sets; everything else is the default above.", ""]
    for preset, sections in PRESETS.items():
        values = [f"`{section}.{key}={value!r}`" for section, keys in sections.items() for key, value in keys.items()]
        lines.append(f"- `{preset}`: {', '.join(values) or 'the defaults'}")
    return "\n".join(lines)


def _rows(section: type[BaseModel]) -> list[str]:
    properties = section.model_json_schema()["properties"]
    rows = []
    for key, field in section.model_fields.items():
        default = "unset" if field.default is None else f"`{field.default!r}`"
        rows.append(
            f"| `{key}` | {_type(properties[key])} | {default} | {(field.description or '').replace('|', '&#124;')} |"
        )
    return rows


def _type(schema: dict[str, object]) -> str:
    for choices in ("anyOf", "enum"):
        options = schema.get(choices)
        if isinstance(options, list):
            names = [f"`{option}`" if not isinstance(option, dict) else _type(option) for option in options]
            return " or ".join(name for name in names if name != "null")
    if schema.get("type") == "array":
        items = schema.get("items")
        return f"list of {_type(items)}" if isinstance(items, dict) else "list"
    if "const" in schema:
        return f"`{schema['const']}`"
    return {"string": "text", "object": "table"}.get(str(schema.get("type", "string")), str(schema.get("type")))


if __name__ == "__main__":
    sys.stdout.write(page() + "\n")
