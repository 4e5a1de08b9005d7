"""Write the table in ``docs/refusals.md`` from the errors that the code raises: ``python scripts/refusals.py``."""

from pathlib import Path

from qframe.config.refusals import table

PAGE = Path(__file__).parents[1] / "docs" / "refusals.md"
START, END = "<!-- by scripts/refusals.py -->\n", "<!-- end of refusals -->\n"


def written(text: str) -> str:
    """The page with the current table between the markers."""
    before, _, rest = text.partition(START)
    return before + START + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
