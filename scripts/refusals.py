"""Write the README's table of refusals from what the code refuses: ``python scripts/refusals.py``."""

from pathlib import Path

from qframe.config.refusals import table

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- by scripts/refusals.py -->\n", "<!-- end of refusals -->\n"


def written(text: str) -> str:
    """The README with the table of now between the marks."""
    before, _, rest = text.partition(START)
    return before + START + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
