"""Episodes as videos: MP4 files, and small animations for TensorBoard."""

from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from qframe.loggers.logger import Logger
from qframe.networks.protocol import TrainedNetwork
from qframe.training.evaluation import Evaluation, EvaluationResult

MOST_THUMBNAILS = 200  # pictures of an animation; of longer episodes every second, fourth, … one is kept
THUMBNAIL_SIZE = 128  # pixels of its longer side, at most
GIF_SECONDS = 0.05  # between two pictures


class Film(NamedTuple):
    """A film of some episodes."""

    path: Path
    result: EvaluationResult
    animation: bytes  # GIF
    size: tuple[int, int]  # its height and width


def film(
    evaluation: Evaluation, network: TrainedNetwork, path: Path, *, episodes: int, stream: tuple[str | int, ...]
) -> Film:
    """Play episodes one after another into an MP4 file.

    Args:
        evaluation: plays them.
        network: acts.
        path: the file; written under another name, then renamed.
        episodes: how many.
        stream: where their seeds come from.

    Raises:
        ValueError: the package is missing, or the environment draws no pictures.
    """
    rate = evaluation.check_video()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp.mp4")
    try:
        with Camera(unfinished, rate) as camera:
            result = evaluation.play(network, episodes=episodes, stream=stream, show=camera)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return Film(path, result, camera.animation(), camera.size)


class Films:
    """The films of a run: of its periodic evaluations and of its last one, the episodes that were evaluated.

    Args:
        evaluation: says how many episodes are filmed, and plays them.
        folder: of the videos.
        logger: shows the animations.
    """

    def __init__(self, evaluation: Evaluation, folder: Path, logger: Logger) -> None:
        self._evaluation, self._folder, self._logger = evaluation, folder, logger
        self._frames = 0

    def take(self, network: TrainedNetwork, frames: int) -> None:
        """Film episodes of the evaluation after ``frames`` frames."""
        self._frames = frames
        self._film(network, f"{frames:010}", ("evaluation", frames))

    def take_final(self, network: TrainedNetwork) -> None:
        """Film episodes of the evaluation at the end."""
        self._film(network, "final", ("final",))

    def _film(self, network: TrainedNetwork, name: str, stream: tuple[str | int, ...]) -> None:
        if not (episodes := self._evaluation.video):
            return
        made = film(self._evaluation, network, self._folder / f"{name}.mp4", episodes=episodes, stream=stream)
        tag = "eval/video_final" if name == "final" else "eval/video"
        self._logger.animate(tag, self._frames, made.animation, made.size)


class Camera:
    """Takes pictures one after another, into an MP4 file and a few small ones for an animation.

    Args:
        path: the file, which ends in ``.mp4``.
        pictures_per_second: how fast they are shown.

    Raises:
        ValueError: the package is missing.
    """

    def __init__(self, path: Path, pictures_per_second: float) -> None:
        from imageio import v3

        self._imageio = v3
        self._path, self._rate = path, pictures_per_second
        self._thumbnails: list[NDArray[np.uint8]] = []
        self._count, self._stride = 0, 1

    def __enter__(self) -> Self:
        self._file = self._imageio.imopen(self._path, "w", plugin="pyav")
        self._file.__enter__()
        self._file.init_video_stream("libx264", fps=round(self._rate))
        return self

    def __call__(self, picture: NDArray[np.uint8]) -> None:
        """Take one more picture ``[H, W, 3]``."""
        height, width, _ = picture.shape
        self._file.write_frame(np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0))))  # H.264 wants even sides
        if self._count % self._stride == 0:
            step = -(-max(height, width) // THUMBNAIL_SIZE)
            self._thumbnails.append(picture[::step, ::step].copy())
        self._count += 1
        if len(self._thumbnails) > MOST_THUMBNAILS:
            self._thumbnails, self._stride = self._thumbnails[::2], 2 * self._stride

    def __exit__(self, *error: Any) -> None:
        self._file.__exit__(*error)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the small pictures."""
        height, width, _ = self._thumbnails[0].shape
        return height, width

    def animation(self) -> bytes:
        """The small pictures as an animated GIF, without end."""
        milliseconds = 1000 * GIF_SECONDS
        return self._imageio.imwrite("<bytes>", self._thumbnails, extension=".gif", duration=milliseconds, loop=0)
