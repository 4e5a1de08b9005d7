"""Pictures of action values and return distributions, drawn with Pillow, which TensorBoard installs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]  # [H, W, 3]
INK, GREY, PAPER = (28, 28, 28), (100, 100, 100), (255, 255, 255)
BAR, MEAN = (31, 119, 180), (214, 39, 40)
BINS = 40  # of a distribution; one bin per atom if all distributions share their atoms


def draw_values(values: NDArray[np.float64], greedy: NDArray[np.bool_], title: str, names: Sequence[str]) -> Picture:
    """Draw a table of action values ``[S, A]``: darker is higher, and ``greedy`` actions have a frame."""
    states, actions = values.shape
    cell, left, top = (84, 34), 86, 56
    image, draw, font = _canvas(left + cell[0] * actions + 12, top + cell[1] * states + 12, title)
    low, high = float(values.min()), float(values.max())
    for action in range(actions):
        draw.text((left + cell[0] * (action + 0.5), top - 12), names[action][:9], fill=GREY, font=font, anchor="mm")
    for state in range(states):
        draw.text((8, top + cell[1] * (state + 0.5)), f"state {state}", fill=GREY, font=font, anchor="lm")
        for action in range(actions):
            x, y = left + cell[0] * action, top + cell[1] * state
            share = (values[state, action] - low) / max(high - low, 1e-12)
            colour = tuple(round(255 - share * (255 - channel)) for channel in BAR)
            frame = INK if greedy[state, action] else PAPER
            draw.rectangle((x + 1, y + 1, x + cell[0] - 2, y + cell[1] - 2), fill=colour, outline=frame, width=2)
            text = PAPER if share > 0.6 else INK
            number = _number(values[state, action])
            draw.text((x + cell[0] / 2, y + cell[1] / 2), number, fill=text, font=font, anchor="mm")
    return np.asarray(image)


def draw_laws(locations: NDArray[np.float64], masses: NDArray[np.float64], title: str, names: Sequence[str]) -> Picture:
    """Draw return distributions ``[S, A, N]`` on one scale: a panel per state, a histogram per action, means in red."""
    states, actions, _ = locations.shape
    columns = min(2, states)
    rows = -(-states // columns)
    row = max(20, min(40, 240 // actions))
    margin = 38 + 8 * max(len(name[:9]) - 2 for name in names)
    span, height, top = 246, row * actions + 54, 34
    width = span + margin + 16
    image, draw, font = _canvas(columns * width, top + rows * height, title)
    low, high = _span(locations, masses)
    edges = _edges(locations, low, high)
    for state in range(states):
        x, y = (state % columns) * width + margin, top + (state // columns) * height
        draw.text((x, y + 10), f"state {state}", fill=INK, font=font, anchor="lm")
        for action in range(actions):
            base = y + 24 + row * (action + 1)
            draw.text((x - 6, base - row / 2), names[action][:9], fill=GREY, font=font, anchor="rm")
            law = locations[state, action], masses[state, action]
            _histogram(draw, law, edges, (x, base, span, row - 3))
        base = y + 24 + row * actions
        for place, value, anchor in ((0.0, low, "la"), (1.0, high, "ra")):
            draw.text((x + place * span, base + 4), _number(value), fill=GREY, font=font, anchor=anchor)
    return np.asarray(image)


def _histogram(
    draw: ImageDraw.ImageDraw,
    law: tuple[NDArray[np.float64], NDArray[np.float64]],
    edges: NDArray[np.float64],
    box: tuple[float, float, float, float],
) -> None:
    """Draw one distribution into a box ``(x, base, width, height)``, scaled to its highest bin."""
    (location, mass), (x, base, width, height) = law, box
    low, high = edges[0], edges[-1]
    counts, _ = np.histogram(np.clip(location, low, high), bins=edges, weights=mass)
    places = x + (edges - low) / (high - low) * width
    for left, right, count in zip(places, places[1:], counts / max(counts.max(), 1e-12), strict=False):
        if count > 0.005:
            draw.rectangle((left, base - count * height, max(left, right - 1), base), fill=BAR)
    draw.line((x, base, x + width, base), fill=GREY)
    mean = x + (np.clip((location * mass).sum(), low, high) - low) / (high - low) * width
    draw.line((mean, base - height, mean, base), fill=MEAN, width=2)


def _edges(locations: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """The edges of the bins from ``low`` to ``high``: one per atom if all actions share them, else of equal width."""
    if not (locations == locations[0, 0]).all():
        return np.linspace(low, high, BINS + 1)
    atoms = np.unique(locations[0, 0])  # those of an ensemble's members are the same
    between = (atoms[1:] + atoms[:-1]) / 2
    return np.array([low, *between[(between > low) & (between < high)], high])


def _span(locations: NDArray[np.float64], masses: NDArray[np.float64]) -> tuple[float, float]:
    """The range of returns that holds 99.9 % of the mass, slightly widened."""
    order = np.argsort(locations, axis=None)
    location, cumulated = locations.ravel()[order], masses.ravel()[order].cumsum()
    share = cumulated / cumulated[-1]
    low, high = location[np.searchsorted(share, 0.0005)], location[min(np.searchsorted(share, 0.9995), len(share) - 1)]
    margin = 0.03 * max(float(high - low), 1e-3)
    return float(low) - margin, float(high) + margin


def _canvas(width: int, height: int, title: str) -> tuple[Image.Image, ImageDraw.ImageDraw, ImageFont.FreeTypeFont]:
    image = Image.new("RGB", (max(width, 440), height), PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(16)
    assert isinstance(font, ImageFont.FreeTypeFont)
    draw.text((8, 16), title, fill=INK, font=font, anchor="lm")
    return image, draw, font


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1e4 else f"{value:.1e}"
