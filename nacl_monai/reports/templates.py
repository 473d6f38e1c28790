"""The templates of pages, which share one style sheet, ``page.css``."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template

_HERE = "nacl_monai.reports"


def page_template(package: str = _HERE) -> Template:
    """The ``page.html.j2`` of a package, which may include files of this one.

    Values are escaped, and one that is missing is an error.

    Args:
        package: Its name.
    """
    loader = ChoiceLoader([PackageLoader(name, ".") for name in (package, _HERE)])
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(
        "page.html.j2"
    )
