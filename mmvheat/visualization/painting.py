"""Predictions painted on images: arrays in, arrays out.

Notation: H, W size of an image; N number of instances; RGB is uint8.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from mmengine.visualization import Visualizer

COLORS = (
    *((230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200)),
    *((245, 130, 48), (145, 30, 180), (70, 240, 240), (240, 50, 230)),
    *((210, 245, 60), (250, 190, 212)),
)
"""Colour of a class by its number, where no palette is given."""

FONT_SIZE = 13
LABEL_BOX = dict(facecolor='black', alpha=0.75, pad=0.8, edgecolor='none')


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """Enlarge (H, W) or (H, W, 3) by a whole factor, labels kept sharp.

    Images are interpolated; label maps and masks (two axes) repeat their
    pixels.
    """
    if image.ndim == 2:
        return image.repeat(scale, 0).repeat(scale, 1)
    return cv2.resize(
        image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC
    )


def paint_detection(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    masks: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
    *,
    palette: Sequence[Sequence[int]] = COLORS,
    scale: int = 1,
) -> np.ndarray:
    """Paint boxes, masks and class names.

    Args:
        image (np.ndarray): (H, W, 3) RGB.
        boxes (np.ndarray): (N, 4) as x1, y1, x2, y2 in pixels of ``image``.
        labels (np.ndarray): (N,) class numbers.
        masks (np.ndarray, optional): (N, H, W) bool.
        scores (np.ndarray, optional): (N,), written behind the names.
        classes (Sequence[str], optional): Names of the classes. Defaults to
            their numbers.
        palette (Sequence): RGB of the classes, repeated where it ends.
        scale (int): Factor by which the image is enlarged before labels are
            written on it. Defaults to 1.

    Returns:
        np.ndarray: (H * scale, W * scale, 3) RGB.
    """
    canvas = enlarge(image, scale)
    boxes = np.asarray(boxes, float).reshape(-1, 4) * scale
    colors = [tuple(palette[int(k) % len(palette)]) for k in labels]
    for number, color in enumerate(colors):
        if masks is not None:
            _tint(canvas, enlarge(masks[number] > 0, scale), color)
        corners = boxes[number].round().astype(int).tolist()
        cv2.rectangle(canvas, corners[:2], corners[2:], color, 2)
    names = [classes[int(k)] if classes else str(int(k)) for k in labels]
    if scores is not None:
        names = [f'{n} {s:.2f}' for n, s in zip(names, scores)]
    return _write(canvas, names, boxes[:, :2])


def paint_segmentation(
    image: np.ndarray,
    label_map: np.ndarray,
    palette: Sequence[Sequence[int]],
    classes: Sequence[str] | None = None,
    *,
    background: int | None = 0,
    scale: int = 1,
    min_area: int = 30,
) -> np.ndarray:
    """Paint the classes of a label map, a name on every region.

    Args:
        image (np.ndarray): (H, W, 3) RGB.
        label_map (np.ndarray): (H, W) class numbers; what the palette has no
            colour for (such as 255, ignored) stays unpainted.
        palette (Sequence): RGB of every class.
        classes (Sequence[str], optional): Names of the classes; none are
            written without it.
        background (int, optional): Class that stays unpainted. Defaults
            to 0.
        scale (int): Factor by which the image is enlarged before names are
            written on it. Defaults to 1.
        min_area (int): Pixels of ``label_map`` below which a region gets no
            name. Defaults to 30.

    Returns:
        np.ndarray: (H * scale, W * scale, 3) RGB.
    """
    canvas = enlarge(image, scale)
    names, places = [], []
    for number in np.unique(label_map).astype(int).tolist():
        if number == background or number >= len(palette):
            continue
        mask = label_map == number
        _tint(canvas, enlarge(mask, scale), palette[number])
        if classes:
            found = _find_regions(mask, min_area)
            names += [classes[number]] * len(found)
            places += [(x * scale, y * scale) for x, y in found]
    return _write(canvas, names, places)


def montage(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str] = (),
    *,
    gap: int = 6,
) -> np.ndarray:
    """Set images out as a sheet, a title above every column.

    Args:
        rows (Sequence): Rows of images, all (H, W, 3) RGB of one size; a
            short row leaves its last places white.
        titles (Sequence[str]): Titles of the columns. Defaults to none.
        gap (int): White pixels between images. Defaults to 6.

    Returns:
        np.ndarray: The sheet, RGB.

    Raises:
        ValueError: If there is no image, or if sizes differ.
    """
    shapes = {image.shape for row in rows for image in row}
    if len(shapes) != 1:
        raise ValueError(
            'A montage needs images of one size, got '
            f'{sorted(shapes) or "none"}.'
        )
    h, w, _ = shapes.pop()
    columns = max(len(titles), *map(len, rows))
    head = 26 if titles else 0
    sheet = np.full(
        (head + len(rows) * (h + gap) + gap, columns * (w + gap) + gap, 3),
        255,
        np.uint8,
    )
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            y, x = head + gap + i * (h + gap), gap + j * (w + gap)
            sheet[y : y + h, x : x + w] = image
    if not titles:
        return sheet
    visualizer = Visualizer(image=sheet)
    visualizer.draw_texts(
        list(titles),
        np.array([(gap + j * (w + gap), gap) for j in range(len(titles))]),
        font_sizes=FONT_SIZE,
        colors='black',
    )
    return visualizer.get_image()


def _find_regions(mask: np.ndarray, min_area: int) -> list[tuple[int, int]]:
    """Return the upper left corner (x, y) of every region of a mask.

    Pieces less than 9 pixels apart are one region.
    """
    joined = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8))
    number, regions = cv2.connectedComponents(joined)
    corners = []
    for region in range(1, number):
        y, x = np.nonzero((regions == region) & mask)
        if len(x) >= min_area:
            corners.append((int(x.min()), int(y.min())))
    return corners


def _tint(canvas: np.ndarray, mask: np.ndarray, color: Sequence[int]) -> None:
    """Colour the pixels of a mask half and outline them, in place."""
    canvas[mask] = (canvas[mask] * 0.45 + np.array(color) * 0.55).astype(
        np.uint8
    )
    outlines, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(canvas, outlines, -1, tuple(map(int, color)), 1)


def _write(
    canvas: np.ndarray, names: Sequence[str], places: Sequence
) -> np.ndarray:
    """Write names above places (x, y), below them at the upper border."""
    if not names:
        return canvas
    places = np.array(places, float)
    above = places[:, 1] > 1.6 * FONT_SIZE
    places[:, 1] += np.where(above, -3, 3)
    visualizer = Visualizer(image=canvas)
    visualizer.draw_texts(
        list(names),
        places,
        font_sizes=FONT_SIZE,
        colors='white',
        vertical_alignments=['bottom' if up else 'top' for up in above],
        bboxes=[LABEL_BOX] * len(names),
    )
    return visualizer.get_image()
