"""Pages: HTML from a template, in one style for all; a page opens offline and escapes whatever names it shows."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

RESEARCH_ONLY = "Research use only, not for diagnosis."

ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.globals["RESEARCH_ONLY"] = RESEARCH_ONLY


def render(template: str, **values: Any) -> str:
    """Return the HTML of a template, named by its path below `pipeline`, with these values."""
    return ENVIRONMENT.get_template(template).render(values)
