"""Pictures that environments draw, whatever they draw them as."""

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qframe.envs.streams import FaultyEnvironment

USUAL_RATE = 30.0
MOST = 255


def picture_of(drawn: Any) -> NDArray[np.uint8]:
    """What ``render`` gave, grey or with transparency, as a picture ``[H, W, 3]``.

    Raises:
        FaultyEnvironment: it is none.

    >>> picture_of(np.ones((4, 2), np.uint8)).shape, picture_of(np.ones((4, 2, 4), np.uint8)).shape
    ((4, 2, 3), (4, 2, 3))
    """
    picture = np.asarray(drawn)
    picture = picture[..., None] if picture.ndim == 2 else picture
    is_colour = picture.dtype.kind in "uif" and bool(((picture >= 0) & (picture <= MOST)).all())
    if picture.ndim != 3 or picture.shape[2] not in (1, 3, 4) or not picture.size or not is_colour:
        found = f"{picture.dtype} of shape {picture.shape}" if isinstance(drawn, np.ndarray) else type(drawn).__name__
        raise FaultyEnvironment(f"expected render to give a picture [H, W, 3] of 0 to {MOST}, got {found}; mend that")
    picture = picture.astype(np.uint8, copy=False)
    return np.repeat(picture, 3, -1) if picture.shape[2] == 1 else picture[..., :3]


def rate_of(told: Any) -> float:
    """Pictures per second, by what an environment says under ``render_fps``.

    >>> rate_of(50), rate_of(0), rate_of(None)
    (50.0, 30.0, 30.0)
    """
    rate = float(told) if isinstance(told, Real) else 0.0
    return rate if 1 <= rate <= 1000 else USUAL_RATE
