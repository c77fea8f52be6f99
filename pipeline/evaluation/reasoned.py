"""Numbers that may be unknown: None here, null in metrics.json with the reason beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

Interval = tuple[float, float]


@dataclass(frozen=True)
class Reasoned:
    """Numbers and intervals, None if they are unknown.

    Attributes:
        reasons: why a number is None, by its name.
        reason: why all numbers are None; empty if they are not.
    """

    reasons: dict[str, str] = field(default_factory=dict, kw_only=True)
    reason: str = field(default="", kw_only=True)

    omitted: ClassVar[tuple[str, ...]] = ()
    """Numbers that metrics.json leaves out if they are None; each belongs to another one, which has the reason."""

    def why(self, key: str) -> str:
        """Return why a number is None."""
        return self.reasons.get(key, self.reason)

    @classmethod
    def numbers(cls) -> tuple[str, ...]:
        """Return the names of the numbers."""
        return tuple(known.name for known in fields(cls) if known.name not in ("reasons", "reason"))

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as metrics.json has them."""
        content: dict[str, Any] = {}
        for key in self.numbers():
            value = getattr(self, key)
            if value is not None or key not in self.omitted:
                content[key] = list(value) if isinstance(value, tuple) else value
            if key in self.reasons:
                content[f"{key}_reason"] = self.reasons[key]
        return content | ({"reason": self.reason} if self.reason else {})

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return what `to_json` has written."""
        values = {key: content.get(key) for key in cls.numbers()}
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        reasons = {key: content[f"{key}_reason"] for key in cls.numbers() if f"{key}_reason" in content}
        return cls(**values, reasons=reasons, reason=content.get("reason", ""))
