"""Pages: HTML from a template, in one style for all; a page opens offline and escapes whatever names it shows."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

RESEARCH_ONLY = "Research use only, not for diagnosis."

TABLE_SCRIPT = (Path(__file__).parent / "table.js").read_text(encoding="utf-8")
"""The script that sorts and filters a table of scans: in the page, so that the page alone can be sent to somebody."""

ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.globals |= {
    "RESEARCH_ONLY": RESEARCH_ONLY,
    "TABLE_SCRIPT": TABLE_SCRIPT,
    "TABLE_SCRIPT_HASH": base64.b64encode(hashlib.sha256(TABLE_SCRIPT.encode()).digest()).decode(),
}


def render(template: str, **values: Any) -> str:
    """Return the HTML of a template, named by its path below `pipeline`, with these values."""
    return ENVIRONMENT.get_template(template).render(values)
