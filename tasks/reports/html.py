"""What all pages share: templates, filters, style sheet and script, and a policy that lets nothing load.

Every page carries its style and script and a content security policy that allows these and nothing from outside, so a
hostile file name has neither markup (autoescape) nor a channel.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from humwatch.tasks.reports.page_rows import machine_name, model_name, spoken_file
from humwatch.tasks.reports.svg.figures import data_uri, interval_svg


def render_page(template: str, styles: tuple[str, ...], scripts: tuple[str, ...] = (), **context: Any) -> str:
    """Fill a template; it is given `style`, `script` and `policy` beside `context`.

    Args:
        template: Name of a template of this package.
        styles: Names of style sheets beside it, joined in this order.
        scripts: Names of scripts beside it, joined in this order.
        context: What else the template uses; a name it uses and is not given is an error.
    """
    style, script = _joined(styles), _joined(scripts)
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; media-src data:; "
        f"script-src '{_digest(script)}'; style-src '{_digest(style)}'"
    )
    return environment().get_template(template).render(style=style, script=script, policy=policy, **context)


@functools.cache
def environment() -> Environment:
    """The templates of this package with the filters they share."""
    templates = Environment(
        loader=PackageLoader("humwatch.tasks.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "fixed": fixed,
        "percent": percent,
        "percent_whole": percent_whole,
        "significant": significant,
        "signed": signed,
        "machine": machine_name,
        "spoken_file": spoken_file,
        "model": model_name,
        "data_uri": data_uri,
    }
    templates.globals["interval"] = interval_svg
    return templates


def fixed(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals, a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001 - a dash for readers, not a minus


def significant(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits, a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}g}"  # noqa: RUF001 - as above


def signed(value: float | None) -> str:
    """A difference with its sign, a dash where there is none."""
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")  # noqa: RUF001 - as above, and a minus


def percent(value: float | None) -> str:
    """A fraction in percent, a dash where there is none."""
    return "–" if value is None else f"{100 * value:.3g} %"  # noqa: RUF001 - as above


def percent_whole(value: float | None) -> str:
    """A fraction in whole percent, rounded down so that 100 is reached by nothing less; a dash where there is none."""
    return "–" if value is None else f"{int(100 * value + 1e-9)} %"  # noqa: RUF001 - as above


def _joined(names: tuple[str, ...]) -> Markup:
    return Markup("\n").join(map(_asset, names))


@functools.cache
def _asset(name: str) -> Markup:
    return Markup(resources.files("humwatch.tasks.reports").joinpath("templates", name).read_text("utf-8"))  # noqa: S704 - ours


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
