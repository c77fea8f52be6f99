"""The text for a model card that the maker of a model writes: what it is for, what it misses, its pictures."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from pipeline.errors import UsageError, reason_of

FACTS = (
    "name", "description", "authors", "copyright", "data_source", "intended_use", "image_classes",
    "cevae_scans", "cevae_finds", "cevae_misses",
)  # fmt: skip
"""Keys of the bundle's metadata that the text may set; the last three are what `models` lists."""

NOT_FILLED_IN = "???"
"""What stands in place of a figure that is still to be measured."""

PICTURE = re.compile(r"!\[[^\]]*\]\(([\w.-]+\.(?:png|jpg))\)")
"""A picture in the folder of the text."""


@dataclass(frozen=True)
class CardFile:
    """A text for a model card.

    Attributes:
        text: the text, in Markdown.
        facts: values for the bundle's metadata.
        files: the file itself, as card.md, and its pictures, by name.
    """

    text: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


def read_card(file: Path) -> CardFile:
    """Return a text for a model card: Markdown below a head of YAML between two lines `---`, with the keys of `FACTS`.

    Raises:
        UsageError: if it or one of its pictures cannot be read, its head is wrong, or a figure is not filled in.
    """
    try:
        content = file.read_text(encoding="utf-8")
        _, head, text = re.split(r"^---$", content, maxsplit=2, flags=re.MULTILINE)
        facts = dict(yaml.safe_load(head).items())
        pictures = {name: (file.parent / name).read_bytes() for name in PICTURE.findall(text)}
    except OSError as error:
        raise UsageError(f"{error.filename}: it cannot be read ({reason_of(error)})") from error
    except (ValueError, AttributeError, yaml.YAMLError) as error:
        raise UsageError(f"{file}: it must begin with a head of YAML between two lines `---`") from error
    for key, value in facts.items():
        if key not in FACTS:
            nearest = difflib.get_close_matches(str(key), FACTS, n=1, cutoff=0.0)[0]
            raise UsageError(f"{file}: unknown key `{key}`; the nearest known one is `{nearest}`")
        if not isinstance(value, str):
            raise UsageError(f"{file}: `{key}` must be text (got {value!r})")
    for number, line in enumerate(content.splitlines(), start=1):
        if NOT_FILLED_IN in line:
            raise UsageError(f"{file}: line {number}: a figure is not filled in ({NOT_FILLED_IN})")
    return CardFile(text.strip() + "\n", facts, {"card.md": content.encode(), **pictures})
