"""What is known of the scans of a slice bank: it stands beside the slices, so that every training tells it."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.files import write_json


@dataclass(frozen=True)
class ScanFacts:
    """What is known of a scan of the bank.

    Attributes:
        brain: where its brain mask comes from, see `pipeline.scans.BrainOrigin`.
        warnings: warnings about it, each a sentence.
    """

    brain: str
    warnings: tuple[str, ...] = ()


def keep_facts(slices: Path, facts: ScanFacts) -> None:
    """Write the facts of a scan beside the file of its slices."""
    write_json(_beside(slices), asdict(facts))


def kept_facts(slices: Iterable[Path]) -> list[ScanFacts | None]:
    """Return the facts of scans, given the file of the slices of each; None for those that are not in the bank."""
    files = map(_beside, slices)
    return [ScanFacts(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None for file in files]


def _beside(slices: Path) -> Path:
    return slices.with_suffix(".facts.json")
