"""Pictures that environments draw, whatever they draw them as."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qframe.envs.streams import FaultyEnvironment

USUAL_RATE = 30.0


def picture_of(drawn: Any) -> NDArray[np.uint8]:
    """What ``render`` gave, grey or with transparency, as a picture ``[H, W, 3]``.

    Raises:
        FaultyEnvironment: it is none.

    >>> picture_of(np.ones((4, 2), np.uint8)).shape, picture_of(np.ones((4, 2, 4), np.uint8)).shape
    ((4, 2, 3), (4, 2, 3))
    """
    picture = np.asarray(drawn)
    picture = picture[..., None] if picture.ndim == 2 else picture
    if picture.ndim != 3 or picture.dtype != np.uint8 or picture.shape[2] not in (1, 3, 4) or not picture.size:
        found = f"{picture.dtype} of shape {picture.shape}" if isinstance(drawn, np.ndarray) else type(drawn).__name__
        found = f"{picture.dtype} of shape {picture.shape}" if isinstance(drawn, np.ndarray) else type(drawn).__name__
        raise FaultyEnvironment(f"expected render to give a picture, bytes [H, W, 3], got {found}; mend that")
    return np.repeat(picture, 3, -1) if picture.shape[2] == 1 else picture[..., :3]


def rate_of(told: Any) -> float:
    """Pictures per second, by what an environment says under ``render_fps``.

    >>> rate_of(50), rate_of(0), rate_of(None)
    (50.0, 30.0, 30.0)
    """
    return float(told) if isinstance(told, int | float) and 1 <= told <= 1000 else USUAL_RATE
