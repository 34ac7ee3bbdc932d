"""Run exported models with numpy and onnxruntime alone.

    python -m mmvheat.deploy MODEL.onnx IMAGE_OR_FOLDER --out DIR
    python deploy.py MODEL.onnx IMAGE_OR_FOLDER --out DIR

This file needs nothing else of mmvheat: copy it. Pillow reads and writes
image files; who hands over arrays needs none.

    session = Session('model.onnx')
    result = session(image)  # RGB, uint8, (H, W, 3), or a path
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MAX_PIXELS = 2**24
"""Pixels that a network may be given at once; more would take its memory."""
_MAX_BYTES = 2**32  # of the masks, or of the logits, of an image
_BAND = 64  # rows enlarged at once
_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
_WRITTEN = ('vis', 'label_maps')  # folders of pictures below --out
_LEAST = 32  # pixels of a side, one of the last stage


class DeployError(Exception):
    """A fault in a model file or an image, told in one sentence."""


class Session:
    """An exported model, from images to predictions.

    Args:
        path (str | os.PathLike): File that ``tools/deployment/export.py``
            wrote with ``--format onnx``.
        threads (int, optional): Threads of onnxruntime. Defaults to None,
            all cores.
        providers (Sequence[str]): Execution providers of onnxruntime.

    Attributes:
        meta (dict): What the file says: ``task``, ``classes``, ``palette``,
            thresholds, and how images are resized.

    Raises:
        DeployError: The file is no such model.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        threads: int | None = None,
        providers: Sequence[str] = ('CPUExecutionProvider',),
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise DeployError(
                'onnxruntime is needed to run a model; run pip install '
                'onnxruntime.'
            ) from error
        if not os.path.isfile(path):
            raise DeployError(f'The model {path} does not exist.')
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # it logs what it raises
        if threads:
            options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(
                os.fspath(path), options, providers=list(providers)
            )
        except Exception as error:
            raise DeployError(
                f'{path} is no complete ONNX model ({_shorten(error)}); copy '
                'or export it again.'
            ) from error
        known = self.session.get_modelmeta().custom_metadata_map
        try:
            self.meta = json.loads(known.get('mmvheat', '{}'))
            self.meta['task']
        except (ValueError, KeyError, TypeError) as error:
            raise DeployError(
                f'{path} is an ONNX model, but not a whole one of '
                'tools/deployment/export.py; export it without --backbone.'
            ) from error
        self.outputs = [output.name for output in self.session.get_outputs()]

    def __call__(
        self,
        image: np.ndarray | str | os.PathLike,
        score_threshold: float = 0.0,
    ) -> dict[str, Any]:
        """Predict from one image.

        Args:
            image (ndarray | str | os.PathLike): RGB, uint8, (H, W, 3), or a
                file.
            score_threshold (float): Least score of a box. Defaults to 0,
                all that the model gives.

        Returns:
            dict: Of a detector ``boxes`` (N, 4), corners x1, y1, x2, y2 in
            pixels, ``scores`` (N,), ``labels`` (N,), and ``masks``, bool,
            (N, H, W), if it has them; of a segmentor ``label_map`` (H, W);
            of a classifier ``scores`` (K,) and ``label``.

        Raises:
            DeployError: It is no such image, or too large.
        """
        if isinstance(image, (str, os.PathLike)):
            image = read_image(image)
        check_image(image)
        ready, size = prepare(image, self.meta)
        if self.meta['task'] == 'classification':
            (scores,) = self.run(ready)
            return dict(scores=scores, label=int(scores.argmax()))
        if self.meta['task'] == 'segmentation':
            logits = self.slide(ready) if 'window' in self.meta else None
            if logits is None:
                (logits,) = self.run(ready)
            logits = logits[:, : size[0], : size[1]]
            return dict(label_map=_label(logits, image.shape[:2], self.meta))
        found = dict(zip(self.outputs, self.run(ready)))
        return _finish_boxes(found, size, image, self.meta, score_threshold)

    def run(self, image: np.ndarray) -> list[np.ndarray]:
        """Run the network on one image of its size, (H, W, 3)."""
        if image.shape[0] * image.shape[1] > MAX_PIXELS:
            raise DeployError(
                f'The image has {image.shape[1]}x{image.shape[0]} pixels, but '
                f'at most {MAX_PIXELS} may be given to the network; make it '
                'smaller or export the model with a fixed size.'
            )
        try:
            found = self.session.run(None, {'images': image[None]})
        except Exception as error:
            raise DeployError(
                f'The model failed on an image of {image.shape[1]}x'
                f'{image.shape[0]} pixels: {_shorten(error)}'
            ) from error
        return [output[0] for output in found]

    def slide(self, image: np.ndarray) -> np.ndarray:
        """Average logits (K, H, W) over overlapping windows of an image."""
        total = None
        for rows, columns in _list_windows(image.shape, *self.meta['window']):
            window = image[rows, columns]
            (found,) = self.run(_pad(window, self.meta))
            if total is None:
                shape = image.shape[:2]
                if 4 * len(found) * shape[0] * shape[1] > _MAX_BYTES:
                    raise DeployError(
                        f'The logits of {len(found)} classes of '
                        f'{shape[1]}x{shape[0]} pixels are too large; give '
                        'a smaller image.'
                    )
                total = np.zeros((len(found), *shape), np.float32)
                count = np.zeros(shape, np.float32)
            total[:, rows, columns] += found[
                :, : window.shape[0], : window.shape[1]
            ]
            count[rows, columns] += 1
        return total / count


# --- images ---------------------------------------------------------------


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Read an image file as RGB, uint8, (H, W, 3).

    Raises:
        DeployError: It cannot be read.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise DeployError(
            'Pillow is needed to read image files; run pip install pillow, '
            'or hand over arrays.'
        ) from error
    try:
        with Image.open(path) as image:
            if image.mode.startswith(('I', 'F')):
                raise DeployError(
                    f'{path} has more than 8 bits a channel; convert it.'
                )
            image = ImageOps.exif_transpose(image)
            return np.asarray(image.convert('RGB'))
    except FileNotFoundError:
        raise DeployError(f'The image {path} does not exist.') from None
    except (
        *(OSError, ValueError, Image.DecompressionBombError),
        SyntaxError,  # Pillow's word for a broken PNG file
    ) as error:
        raise DeployError(
            f'The image {path} cannot be read: {_shorten(error)}'
        ) from error


def check_image(image: np.ndarray) -> None:
    """Check that an array is an image that models take.

    Raises:
        DeployError: It is not.
    """
    if not isinstance(image, np.ndarray):
        raise DeployError(
            'An image as a numpy array or a path was expected, but came a '
            f'{type(image).__name__}; convert it.'
        )
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DeployError(
            'An image of shape (height, width, 3), RGB, was expected, but '
            f'came {image.shape}; repeat a gray image three times along a '
            'last axis, drop the fourth channel of another one.'
        )
    if image.dtype != np.uint8:
        raise DeployError(
            'An image of dtype uint8, 0 to 255, was expected, but came '
            f'{image.dtype}; convert it, the model normalises.'
        )


def prepare(
    image: np.ndarray, meta: dict[str, Any]
) -> tuple[np.ndarray, tuple[int, int]]:
    """Resize, crop and pad an image as the model expects it.

    Args:
        image (ndarray): RGB, uint8, (H, W, 3).
        meta (dict): As :attr:`Session.meta`.

    Returns:
        tuple[ndarray, tuple[int, int]]: The image for the network, and which
        height and width of it are no padding.
    """
    resize, crop = meta.get('resize', {}), meta.get('crop')
    height, width = _choose_size(image.shape[:2], resize)
    limit = meta.get('size')
    if limit and not crop and 'window' not in meta:
        # What is too large for the program is made to fit.
        ratio = min(1, limit[0] / height, limit[1] / width)
        if ratio < 1:
            height = max(1, int(height * ratio + 0.5))
            width = max(1, int(width * ratio + 0.5))
    if height * width > max(MAX_PIXELS, image.shape[0] * image.shape[1]):
        raise DeployError(
            f'The image of {image.shape[1]}x{image.shape[0]} pixels is too '
            f'oblong: it would be resized to {width}x{height} pixels; cut it.'
        )
    if (height, width) != image.shape[:2]:
        image = resize_image(
            image,
            (height, width),
            resize.get('kernel', 'bilinear'),
            resize.get('smooth', False),
        )
    if crop:
        top = max(0, round((height - crop[0]) / 2))
        left = max(0, round((width - crop[1]) / 2))
        image = image[top : top + crop[0], left : left + crop[1]]
    size = image.shape[:2]
    if 'window' not in meta:
        image = _pad(image, meta)
    return np.ascontiguousarray(image), size


def _choose_size(
    size: tuple[int, int], resize: dict[str, Any]
) -> tuple[int, int]:
    """Choose the size of a resized image, as mmcv and mmpretrain do."""
    height, width = size
    by = resize.get('by')
    if by is None:
        return size
    target = resize['size']  # width, height
    if by == 'exact':
        return target[1], target[0]
    if by in ('short', 'long'):
        edge = target[0]
        if (by == 'short') == (width < height):
            return max(1, int(edge * height / width)), edge
        return edge, max(1, int(edge * width / height))
    ratio = min(
        max(target) / max(height, width), min(target) / min(height, width)
    )
    return max(1, int(height * ratio + 0.5)), max(1, int(width * ratio + 0.5))


def _pad(image: np.ndarray, meta: dict[str, Any]) -> np.ndarray:
    """Pad an image at the bottom and right to the size of the program."""
    height, width = meta.get('size') or (_LEAST, _LEAST)
    height, width = max(height, len(image)), max(width, image.shape[1])
    if (height, width) == image.shape[:2]:
        return image
    padded = np.empty((height, width, 3), np.uint8)
    padded[:] = meta.get('pad_value', 0)
    padded[: len(image), : image.shape[1]] = image
    return padded


def resize_image(
    image: np.ndarray,
    size: tuple[int, int],
    kernel: str = 'bilinear',
    smooth: bool = False,
) -> np.ndarray:
    """Resize an image (H, W, 3) as OpenCV or, ``smooth``, as Pillow does."""
    places, weights = _weigh(image.shape[1], size[1], kernel, smooth)
    image = _combine(image, places, weights, 1)
    if smooth:  # Pillow rounds between its passes.
        image = np.clip(np.rint(image), 0, 255)
    image = _combine(image, *_weigh(len(image), size[0], kernel, smooth), 0)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _weigh(
    old: int, new: int, kernel: str, smooth: bool, corners: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Choose places (new, T) and their weights for every new place."""
    centre = (np.arange(new) + 0.5) * old / new - 0.5
    if corners:
        centre = np.arange(new) * (old - 1) / max(new - 1, 1)
    wide = max(old / new, 1) if smooth else 1
    radius = wide * (1 if kernel == 'bilinear' else 2)
    first = np.floor(centre - radius) + 1
    places = first[:, None] + np.arange(int(np.ceil(2 * radius)))
    d = np.abs(places - centre[:, None]) / wide
    if kernel == 'bilinear':
        weights = np.maximum(1 - d, 0)
    else:
        a = -0.5 if smooth else -0.75
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = a * (((d - 5) * d + 8) * d - 4)
        weights = np.where(d < 1, near, np.where(d < 2, far, 0))
    if smooth:  # Pillow leaves out what lies outside, OpenCV repeats it.
        weights *= (places >= 0) & (places < old)
    weights /= weights.sum(1, keepdims=True)
    places = np.clip(places, 0, old - 1).astype(int)
    return places, weights.astype(np.float32)


def _combine(
    values: np.ndarray, places: np.ndarray, weights: np.ndarray, axis: int
) -> np.ndarray:
    shape = [1] * values.ndim
    shape[axis] = -1
    return sum(
        values.take(place, axis) * weight.reshape(shape)
        for place, weight in zip(places.T, weights.T)
    )


def _list_windows(
    shape: Sequence[int], window: Sequence[int], stride: Sequence[int]
) -> Iterator[tuple[slice, slice]]:
    """List windows as mmseg does: the last ones end at the border."""
    starts = [
        [
            max(min(start, side - size), 0)
            for start in range(0, max(side - size + step - 1, 0) + 1, step)
        ]
        for side, size, step in zip(shape, window, stride)
    ]
    for top in starts[0]:
        for left in starts[1]:
            yield slice(top, top + window[0]), slice(left, left + window[1])


# --- predictions ----------------------------------------------------------


def _label(
    logits: np.ndarray, size: tuple[int, int], meta: dict[str, Any]
) -> np.ndarray:
    """Enlarge logits (K, h, w) and name the class of every pixel."""
    corners = meta.get('align_corners', False)
    rows, columns = (
        _weigh(old, new, 'bilinear', False, corners)
        for old, new in zip(logits.shape[1:], size)
    )
    label_map = np.empty(size, np.uint8 if len(logits) < 256 else np.uint16)
    for top in range(0, size[0], _BAND):
        band = slice(top, top + _BAND)
        part = _combine(logits, rows[0][band], rows[1][band], 1)
        part = _combine(part, *columns, 2)
        if len(part) == 1:  # the logit of the one class
            threshold = meta.get('threshold') or 0.3
            label_map[band] = 1 / (1 + np.exp(-part[0])) > threshold
        else:
            label_map[band] = part.argmax(0)
    return label_map


def _finish_boxes(
    found: dict[str, np.ndarray],
    size: tuple[int, int],
    image: np.ndarray,
    meta: dict[str, Any],
    threshold: float,
) -> dict[str, np.ndarray]:
    """Bring boxes and masks of a network to the size of the image."""
    height, width = image.shape[:2]
    scale = np.array([size[1] / width, size[0] / height] * 2, np.float32)
    limit = np.array([width, height] * 2, np.float32)
    boxes = np.clip(found['boxes'] / scale, 0, limit)
    kept = (found['scores'] > 0) & (found['scores'] >= threshold)
    kept &= (boxes[:, 2:] > boxes[:, :2]).all(1)
    result = dict(boxes=boxes[kept])
    result.update({k: found[k][kept] for k in ('scores', 'labels')})
    if 'masks' not in found:
        return result
    if kept.sum() * height * width > _MAX_BYTES:
        raise DeployError(
            f'{kept.sum()} masks of {width}x{height} pixels are too large; '
            'raise score_threshold or give a smaller image.'
        )
    masks = np.zeros((kept.sum(), height, width), bool)
    for target, mask, box in zip(masks, found['masks'][kept], result['boxes']):
        if mask.dtype == np.uint8:  # pasted by the program
            rows, columns = (
                np.minimum((np.arange(new) + 0.5) * old / new, old - 1)
                for old, new in zip(size, (height, width))
            )
            target[:] = mask[rows.astype(int)[:, None], columns.astype(int)]
        else:
            _paste(target, mask, box, meta.get('mask_threshold', 0.5))
    return dict(result, masks=masks)


def _paste(
    target: np.ndarray, mask: np.ndarray, box: np.ndarray, threshold: float
) -> None:
    """Paste a mask (h, w) of probabilities in a box into a picture."""
    weights, slices = [], []
    for low, high, side, cells in zip(
        box[1::-1], box[:1:-1], target.shape, mask.shape
    ):
        first = max(int(low) - 1, 0)
        last = min(int(np.ceil(high)) + 1, side)
        place = (np.arange(first, last) + 0.5 - low) / (high - low)
        d = np.abs(place[:, None] * cells - 0.5 - np.arange(cells))
        weights.append(np.maximum(1 - d, 0).astype(np.float32))
        slices.append(slice(first, last))
    rows, columns = weights
    target[tuple(slices)] = rows @ mask @ columns.T >= threshold


def to_coco(
    result: dict[str, np.ndarray], image_id: int, category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Write the result of a detector in the format of COCO's results.

    Args:
        result (dict): From a :class:`Session`.
        image_id (int): Number of the image in the annotations.
        category_ids (Sequence[int]): Number of every class there.

    Returns:
        list[dict]: ``image_id``, ``category_id``, ``bbox`` as x, y, width,
        height, ``score``, and ``segmentation`` as RLE of masks.
    """
    entries = []
    for i, (x1, y1, x2, y2) in enumerate(result['boxes'].tolist()):
        entry = dict(
            image_id=image_id,
            category_id=category_ids[int(result['labels'][i])],
            bbox=[x1, y1, x2 - x1, y2 - y1],
            score=float(result['scores'][i]),
        )
        if 'masks' in result:
            entry['segmentation'] = encode_mask(result['masks'][i])
        entries.append(entry)
    return entries


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Encode a mask (H, W) as COCO's compressed RLE."""
    flat = np.concatenate([[False], mask.ravel(order='F'), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    if len(changes) and changes[-1] == mask.size:
        changes = changes[:-1]
    runs = np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
    text = []
    for i, run in enumerate(runs):
        # From the fourth on, the difference from the last but one is told,
        # five bits a character, the sixth says that more follow.
        value, more = run - runs[i - 2] if i > 2 else run, True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr((bits | 32 * more) + 48))
    return dict(size=list(mask.shape), counts=''.join(text))


# --- pictures and the command ---------------------------------------------


def paint(
    image: np.ndarray, result: dict[str, Any], meta: dict[str, Any]
) -> np.ndarray:
    """Paint what was predicted into an image; returns (H, W, 3)."""
    from PIL import Image, ImageDraw

    names = meta.get('classes') or []
    if 'label_map' in result:
        count = max(len(names), int(result['label_map'].max()) + 1)
        colours = np.array([_colour(i, meta) for i in range(count)])
        mixed = 0.5 * image + 0.5 * colours[result['label_map']]
        return mixed.astype(np.uint8)
    picture = image.astype(np.float32)
    for label, mask in zip(result.get('labels', ()), result.get('masks', ())):
        picture[mask] = 0.5 * picture[mask] + 0.5 * _colour(label, meta)
    picture = Image.fromarray(picture.astype(np.uint8))
    if 'label' in result:  # whose name needs room
        ratio = -(-224 // min(picture.size))
        picture = picture.resize([side * ratio for side in picture.size])
        draw = ImageDraw.Draw(picture)
        best = result['label']
        lines = [((0, 0), best, float(result['scores'][best]))]
    else:
        draw, lines = ImageDraw.Draw(picture), []
        for box, label, score in zip(
            result['boxes'], result['labels'], result['scores']
        ):
            colour = tuple(_colour(label, meta).tolist())
            draw.rectangle(box.tolist(), outline=colour, width=2)
            lines.append((tuple(box[:2].tolist()), label, float(score)))
    for (x, y), label, score in lines:
        name = names[label] if label < len(names) else str(label)
        text = f'{name} {score:.2f}'
        left, top, right, bottom = draw.textbbox((0, 0), text)
        x = max(0, min(x, picture.width - right - 2))
        y = max(0, min(y, picture.height - bottom - 2))
        draw.rectangle((x, y, x + right + 2, y + bottom + 2), fill='black')
        draw.text((x + 1, y + 1), text, fill='white')
    return np.asarray(picture)


def _colour(label: int, meta: dict[str, Any]) -> np.ndarray:
    palette = meta.get('palette') or []
    if label < len(palette):
        return np.array(palette[label])
    return np.array([(67 * label + 97) % 256, (151 * label) % 256, 128])


def list_images(
    path: str | os.PathLike, out: str | os.PathLike | None = None
) -> list[Path]:
    """List an image, or those below a folder, sorted.

    Args:
        path (str | os.PathLike): The image or the folder.
        out (str | os.PathLike, optional): The folder that is filled, whose
            pictures of an earlier run are left out. Defaults to None.

    Raises:
        DeployError: There is none.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    root = path.resolve()
    written = [Path(out, name).resolve() for name in _WRITTEN if out]
    written = [w for w in written if not root.is_relative_to(w)]
    found = sorted(
        p
        for p in path.rglob('*')
        if p.suffix.lower() in _EXTENSIONS
        and not any(p.resolve().is_relative_to(w) for w in written)
    )
    if not found:
        raise DeployError(f'There is no image at {path}.')
    return found


def read_ids(
    path: str | os.PathLike, classes: Sequence[str]
) -> tuple[dict[str, int], list[int]]:
    """Read COCO annotations: image ids by file name, ids of classes.

    Raises:
        DeployError: The annotations lack a class of the model.
    """
    try:
        content = json.loads(Path(path).read_text())
        ids = {c['name']: c['id'] for c in content['categories']}
        images = {i['file_name']: i['id'] for i in content['images']}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeployError(
            f'{path} is no file of COCO annotations: {_shorten(error)}'
        ) from error
    missing = [name for name in classes if name not in ids]
    if missing:
        raise DeployError(
            f'{path} has no category {missing[0]}, which the model predicts.'
        )
    return images, [ids[name] for name in classes]


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict from images and write pictures and predictions."""
    parser = argparse.ArgumentParser(
        prog='mmvheat.deploy', description='Run an exported model on images.'
    )
    parser.add_argument('model', help='ONNX file of tools/deployment')
    parser.add_argument('input', help='an image or a folder of images')
    parser.add_argument('--out', required=True, help='folder to fill')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='least score of a box painted (default: 0.3)',
    )
    parser.add_argument(
        '--coco',
        metavar='FILE',
        help='COCO annotations that give ids; a detector writes results.json',
    )
    args = parser.parse_args(arguments)
    session = Session(args.model)
    meta, out = session.meta, Path(args.out)
    paths = list_images(args.input, out)
    root = Path(args.input) if Path(args.input).is_dir() else paths[0].parent
    names = [path.relative_to(root) for path in paths]
    if args.coco and meta['task'] != 'detection':
        raise DeployError(
            f'--coco writes the boxes of a detector, but {args.model} is a '
            f'model of {meta["task"]}.'
        )
    ids = read_ids(args.coco, meta['classes']) if args.coco else None
    predictions, entries, faults = {}, [], []
    try:
        for path, name, picture in zip(paths, names, _name_pictures(names)):
            number = ids and ids[0].get(name.as_posix())
            if ids and number is None:
                raise DeployError(f'{args.coco} has no image {name}.')
            try:
                image = read_image(path)
                result = session(image)
            except DeployError as error:  # the others may be sound
                named = str(path) in str(error)
                faults.append(str(error) if named else f'{path}: {error}')
                continue
            if ids:
                entries += to_coco(result, number, ids[1])
            if 'label_map' in result:
                target = out / 'label_maps' / picture
                _write_image(target, result['label_map'])
            else:
                predictions[name.as_posix()] = {
                    key: np.asarray(value).tolist()
                    for key, value in result.items()
                    if key != 'masks'
                }
            if 'boxes' in result:
                shown = result['scores'] >= args.score_thr
                result = {key: value[shown] for key, value in result.items()}
            target = out / 'vis' / picture
            _write_image(target, paint(image, result, meta))
    finally:  # what was found before a run is stopped
        if predictions:
            text = json.dumps(predictions)
            (out / 'predictions.json').write_text(text)
        if predictions and ids:
            (out / 'results.json').write_text(json.dumps(entries))
    done = len(paths) - len(faults)
    print(f'{done} images predicted, pictures in {out / "vis"}')
    if faults:
        raise DeployError(
            f'{len(faults)} of {len(paths)} images were left out: '
            + ' '.join(faults[:5])
        )


def _name_pictures(names: Sequence[Path]) -> list[Path]:
    """Name the pictures of images: a.png, but a.jpg.png beside an a.bmp."""
    pictures = [name.with_suffix('.png') for name in names]
    counts = Counter(pictures)
    return [
        name.with_name(f'{name.name}.png') if counts[picture] > 1 else picture
        for name, picture in zip(names, pictures)
    ]


def _write_image(path: Path, array: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def _shorten(error: Exception) -> str:
    return ' '.join(str(error).split())[:200]


if __name__ == '__main__':
    try:
        main()
    except (DeployError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(1)
