"""Names of environments and packages that are not there, in words: the nearest ones, and the pip command."""

import difflib
import re
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str], *, listed: bool = False) -> str:
    """The names most like ``name``, as the end of a message; all of them where none is and they are to be listed.

    >>> nearest("breakou", ["breakout", "freeway"])
    '; the nearest is breakout'
    """
    known = sorted(names)
    plain = {re.sub(r"[^a-z0-9]", "", other.lower()): other for other in reversed(known)}
    near = difflib.get_close_matches(re.sub(r"[^a-z0-9]", "", name.lower()), plain, n=3, cutoff=0.6)
    if near:
        return f"; the nearest {'is' if len(near) == 1 else 'are'} {', '.join(plain[other] for other in near)}"
    return f" ({', '.join(known)})" if listed else ""


def snake_case(name: str) -> str:
    """A game's name as emulators write it.

    >>> snake_case("SpaceInvaders"), snake_case("Space Invaders"), snake_case("space-invaders")
    ('space_invaders', 'space_invaders', 'space_invaders')
    """
    return re.sub(r"[ _-]+|(?<=[a-z])(?=[A-Z])", "_", name.strip()).lower()


def missing(package: str, what: str, extra: str) -> str:
    """What to install for something that is not there.

    >>> missing("minatar", "MinAtar games", "minatar")
    'expected the package minatar for MinAtar games, which is not installed; pip install "qframe[minatar]"'
    """
    return f'expected the package {package} for {what}, which is not installed; pip install "qframe[{extra}]"'
