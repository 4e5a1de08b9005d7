"""Episodes as videos: MP4 files, and animations for TensorBoard."""

from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from qframe.loggers.console import Report
from qframe.loggers.failures import Failures
from qframe.loggers.logger import Logger
from qframe.networks.protocol import TrainedNetwork
from qframe.training.evaluation import Evaluation, EvaluationResult

MAX_PICTURES = 100  # in an animation; longer episodes keep every second, fourth, … one
LARGEST_SIDE = 640  # pixels in an animation; larger pictures keep every second, third, … pixel
GIF_SECONDS = 0.05  # per picture


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
        evaluation: plays the episodes.
        network: acts.
        path: the file; written under a temporary name, then renamed.
        episodes: the number of episodes.
        stream: the stream of their seeds.

    Raises:
        ValueError: imageio is not installed, or the environment cannot be filmed.
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
    """The films of a run's evaluations, which show evaluated episodes; a film that cannot be made does not end the run.

    Args:
        evaluation: plays the episodes, and knows how many are filmed.
        folder: of the videos.
        logger: shows the animations.
        report: where a failure is reported.
    """

    def __init__(self, evaluation: Evaluation, folder: Path, logger: Logger, report: Report) -> None:
        self._evaluation, self._folder, self._logger, self._report = evaluation, folder, logger, report
        self._failures = Failures(report, "a film could not be made")
        self._frames = 0

    def take(self, network: TrainedNetwork, frames: int) -> None:
        """Film episodes of the evaluation at this frame."""
        self._frames = frames
        with self._failures.tolerated():
            self._film(network, f"{frames:010}", ("evaluation", frames))

    def take_final(self, network: TrainedNetwork) -> None:
        """Film episodes of the final evaluation."""
        with self._failures.tolerated():
            self._film(network, "final", ("final",))

    def _film(self, network: TrainedNetwork, name: str, stream: tuple[str | int, ...]) -> None:
        if not (episodes := self._evaluation.video):
            return
        with self._report.paused():
            made = film(self._evaluation, network, self._folder / f"{name}.mp4", episodes=episodes, stream=stream)
        tag = "video/final" if name == "final" else "video/evaluation"
        self._logger.animate(tag, self._frames, made.animation, made.size)


class Camera:
    """Writes pictures to an MP4 file, and keeps a few for an animation.

    Args:
        path: the file, which ends in ``.mp4``.
        pictures_per_second: the frame rate.
    """

    def __init__(self, path: Path, pictures_per_second: float) -> None:
        from imageio import v3

        self._imageio = v3
        self._path, self._rate = path, pictures_per_second
        self._kept: list[NDArray[np.uint8]] = []
        self._count, self._stride = 0, 1

    def __enter__(self) -> Self:
        self._file = self._imageio.imopen(self._path, "w", plugin="pyav")
        self._file.__enter__()
        self._file.init_video_stream("libx264", fps=round(self._rate))
        return self

    def __call__(self, picture: NDArray[np.uint8]) -> None:
        """Add a picture ``[H, W, 3]``."""
        height, width, _ = picture.shape
        self._file.write_frame(np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0))))  # H.264 needs even sides
        if self._count % self._stride == 0:
            step = -(-max(height, width) // LARGEST_SIDE)
            self._kept.append(picture[::step, ::step].copy())
        self._count += 1
        if len(self._kept) > MAX_PICTURES:
            self._kept, self._stride = self._kept[::2], 2 * self._stride

    def __exit__(self, *error: Any) -> None:
        self._file.__exit__(*error)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the kept pictures."""
        height, width, _ = self._kept[0].shape
        return height, width

    def animation(self) -> bytes:
        """The kept pictures as an animated GIF that loops."""
        milliseconds = 1000 * GIF_SECONDS
        return self._imageio.imwrite("<bytes>", self._kept, extension=".gif", duration=milliseconds, loop=0)
