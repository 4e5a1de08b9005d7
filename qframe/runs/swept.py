"""The keys in which the jobs of a sweep differ, for names, tables and lines."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from qframe.runs.run_name import short_keys


@dataclass(frozen=True)
class Swept:
    """The keys in which the jobs of a sweep differ.

    Args:
        keys: as on the command line.
    """

    keys: tuple[str, ...]

    @classmethod
    def among(cls, jobs: Iterable[Sequence[str]]) -> Self:
        """The keys whose values vary among these jobs, all keys if there is one job.

        >>> Swept.among([["a=1", "seed=1"], ["a=1", "seed=2"]])
        Swept(keys=('seed',))
        """
        listed = [{text.partition("=")[0]: text for text in job} for job in jobs]
        keys = dict.fromkeys(key for job in listed for key in job)
        return cls(tuple(key for key in keys if len(listed) == 1 or len({job.get(key) for job in listed}) > 1))

    @property
    def headers(self) -> list[str]:
        """The keys as titles of columns: the last part of each, where that is unique."""
        return [*short_keys(self.keys).values()]

    def picked(self, overrides: Iterable[str]) -> list[str]:
        """The overrides of these keys."""
        return [text for text in overrides if text.partition("=")[0] in self.keys]

    def text(self, overrides: Iterable[str]) -> str:
        """The overrides of these keys in one line."""
        return " ".join(self.picked(overrides))

    def values(self, overrides: Iterable[str]) -> list[str]:
        """The value of each key; empty where it is not set."""
        found = {key: value for key, _, value in (text.partition("=") for text in overrides)}
        return [found.get(key, "") for key in self.keys]
