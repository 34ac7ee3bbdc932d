"""Films of heat: GIF, and MP4 where OpenCV can."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from mmvheat.checkpoint.writer import replace_file

from .heat import conduct
from .heat_pictures import Conduction, draw_heat_frame, heat_norm
from .style import PathLike, colorize, new_figure

FILM_CAPTION = (
    'The same heat over time: t = 0 is the source, t = 1 what the operator of '
    'the network gives; the amount of heat stays the same.'
)


def conduct_film(
    picture: np.ndarray,
    conduction: Conduction,
    until: float = 1.0,
    steps: int = 40,
) -> list[np.ndarray]:
    """Draw how a source spreads over time.

    Args:
        picture (np.ndarray): RGB uint8 of shape (H, W, 3).
        conduction (Conduction): Source and block.
        until (float): The last time. Defaults to 1.
        steps (int): Steps of time. Defaults to 40.
    """
    times = np.linspace(0, until, steps + 1)
    frames = conduct(conduction.source, conduction.predicted_k, times)
    return draw_film(picture, frames, times, conduction.title)


def draw_film(
    picture: np.ndarray,
    frames: np.ndarray,
    times: Sequence[float],
    title: str,
) -> list[np.ndarray]:
    """Draw the frames of a film.

    Args:
        picture (np.ndarray): RGB uint8 of shape (H, W, 3).
        frames (np.ndarray): Heat at every time, (T, H', W').
        times (Sequence[float]): The times.
        title (str): Which block conducts.

    Returns:
        list[np.ndarray]: RGB uint8 of shape (h, w, 3), even sides.
    """
    figure = new_figure(7.2, 3.2)
    heat = draw_heat_frame(figure, picture, frames[0], frames[0], title)
    heat.images[0].set_norm(heat_norm(frames))
    changing = heat.images[0], heat.title
    for artist in changing:
        artist.set_animated(True)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # what stays is drawn once
    background = canvas.copy_from_bbox(figure.bbox)
    images = []
    for frame, time in zip(frames, times):
        heat.images[0].set_data(np.abs(frame))
        heat.set_title(f't = {time:.2f}', fontsize=10)
        canvas.restore_region(background)
        for artist in changing:
            heat.draw_artist(artist)
        drawn = np.asarray(canvas.buffer_rgba())[..., :3]
        sides = (side - side % 2 for side in drawn.shape[:2])
        images.append(drawn[tuple(map(slice, sides))].copy())
    return images


def write_gif(
    images: Sequence[np.ndarray], path: PathLike, seconds: float = 0.1
) -> None:
    """Write a film as GIF, whole or not at all.

    Args:
        images (Sequence[np.ndarray]): RGB uint8 frames.
        path (str | Path): The file; its folder is made.
        seconds (float): How long a frame stays. Defaults to 0.1.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # one palette for all, with room for the colours of heat, so that the same
    # heat has the same colour
    ramp = np.linspace(0, 1, images[0].shape[1])[None].repeat(200, 0)
    palette = Image.fromarray(
        np.concatenate([*images[:: max(1, len(images) // 8)], colorize(ramp)])
    ).quantize(256)
    frames = [
        Image.fromarray(image).quantize(palette=palette, dither=0)
        for image in images
    ]
    durations = [round(1000 * seconds)] * len(frames)
    durations[-1] += 1000
    with replace_file(path) as partial:
        frames[0].save(
            partial,
            format='GIF',
            save_all=True,
            append_images=frames[1:],
            duration=durations,
            loop=0,
        )


def write_mp4(
    images: Sequence[np.ndarray], path: PathLike, seconds: float = 0.1
) -> bool:
    """Write a film as MP4 where OpenCV can.

    Args:
        images (Sequence[np.ndarray]): RGB uint8 frames of even sides.
        path (str | Path): The file; its folder is made.
        seconds (float): How long a frame stays. Defaults to 0.1.

    Returns:
        bool: False where this OpenCV has no encoder; nothing is written.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        made = str(Path(folder) / 'film.mp4')  # OpenCV goes by the ending
        height, width = images[0].shape[:2]
        writer = cv2.VideoWriter(
            made,
            cv2.VideoWriter_fourcc(*'mp4v'),
            1 / seconds,
            (width, height),
        )
        if not writer.isOpened():
            return False
        for image in images:
            writer.write(np.ascontiguousarray(image[..., ::-1]))
        writer.release()
        with replace_file(path) as partial:
            shutil.copyfile(made, partial)
    return True
