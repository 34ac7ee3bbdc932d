"""Programs as files: ONNX, torch.export, AOTInductor; fp16 and int8."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmvheat.checkpoint.writer import replace_file
from mmvheat.errors import UserError

from .precision import quantize, store_half
from .programs import Backbone, fix_decays, free_sizes, make_images
from .record import find_module, record, refuse, shorten

KEY = 'mmvheat'
_TOLERANCES = dict(fp32=1e-3, fp16=5e-2, int8=float('inf'))
_SECOND_SIZE = (97, 161)  # odd and oblong


def export(
    program: nn.Module,
    target: str | os.PathLike,
    *,
    format: str = 'onnx',
    size: tuple[int, int],
    dynamic: bool = False,
    batch: bool = False,
    meta: dict[str, Any] | None = None,
    calibration: Sequence[np.ndarray] | None = None,
    sample: np.ndarray | None = None,
) -> float:
    """Export a program, run the file and compare before it appears.

    Args:
        program (nn.Module): From ``build_program`` or a ``Backbone``; it is
            changed.
        target (str | os.PathLike): The file, replaced if it exists.
        format (str): 'onnx', 'torch-export' or 'aoti'. Defaults to 'onnx'.
        size (tuple[int, int]): Height and width of the images; of a program
            for any size, of those by which it is compared.
        dynamic (bool): Take images of any size. Defaults to False.
        batch (bool): Take any number of images. Defaults to False, one.
        meta (dict, optional): Plain values to store. Defaults to None.
        calibration (Sequence[ndarray], optional): Images (1, H, W, 3) by
            which to quantise to int8 (ONNX). Defaults to None.

    Returns:
        float: The largest difference from the model, relative to the largest
        value; of detectors that of the scores.

    Raises:
        UserError: An operator cannot be exported, the file differs from the
            model or cannot be written.
    """
    half = getattr(program, 'half_precision', False)
    precision = 'int8' if calibration else 'fp16' if half else 'fp32'
    if dynamic:
        free_sizes(program)
    else:
        fix_decays(program, size)
    meta = dict(meta or {}, precision=precision)
    meta.update(size=None if dynamic else list(size), any_batch=batch)
    recorded = record(program, size, dynamic, batch)
    try:
        with replace_file(target) as partial:
            if format == 'onnx':
                model = translate(recorded, program, precision == 'fp16')
                if calibration:
                    quantize(model, partial, calibration)
                else:
                    model.save(partial)
                add_metadata(partial, meta)
            elif format == 'torch-export':
                extra = {f'{KEY}.json': json.dumps(meta)}
                with open(partial, 'wb') as file:
                    torch.export.save(recorded, file, extra_files=extra)
            else:
                compile_ahead(recorded, partial, meta)
            images = [make_images(program, size)]
            if sample is not None:
                images = [torch.from_numpy(sample)]
            if dynamic:
                images.append(make_images(program, _SECOND_SIZE))
            if batch:
                images = [torch.cat([x, x.flip(1), x]) for x in images]
            found = compare(program, load(partial, format), images)
            if not found <= _TOLERANCES[precision]:
                raise UserError(
                    f'The exported program differs by {found:.1e} from the '
                    f'model, at most {_TOLERANCES[precision]:.0e} was '
                    'expected; nothing was written.'
                )
    except OSError as error:
        raise UserError(
            f'{target} cannot be written: {error.strerror or error}.'
        ) from error
    return found


def translate(
    recorded: torch.export.ExportedProgram, program: nn.Module, half: bool
):
    """Translate a recorded program to ONNX.

    Returns:
        ONNXProgram: The translation.

    Raises:
        UserError: An operator has no translation.
    """
    from .translations import TRANSLATIONS

    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of the exporter about itself
            found = torch.onnx.export(
                recorded,
                dynamo=True,
                verbose=False,
                input_names=['images'],
                output_names=list(program.outputs),
                custom_translation_table=TRANSLATIONS,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason, cause = str(error), error
        while (cause := cause.__cause__) is not None:
            reason = str(cause)
        raise refuse(reason, *find_module(recorded, reason)) from error
    _name_sizes(found, program)
    if half:
        store_half(found)
    return found


def _name_sizes(found: Any, program: nn.Module) -> None:
    """Name the free sizes of the input."""
    names = ['batch', 'height', 'width', 'channels']
    if isinstance(program, Backbone):
        names = ['batch', 'channels', 'height', 'width']
    (images,) = found.model.graph.inputs
    renamed = {}
    for axis, name in enumerate(names):
        old = images.shape[axis]
        if not isinstance(old, int):
            renamed[str(old)] = name
    values = [*found.model.graph.inputs, *found.model.graph.outputs]
    for value in values:
        for axis, old in enumerate(value.shape or ()):
            if str(old) in renamed:
                value.shape[axis] = renamed[str(old)]


def add_metadata(path: Path, meta: dict[str, Any]) -> None:
    """Add metadata to an ONNX file, as JSON under the key ``mmvheat``."""
    import onnx

    model = onnx.load(path)
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(meta)
    onnx.save(model, path)


def compile_ahead(
    recorded: torch.export.ExportedProgram,
    target: Path,
    meta: dict[str, Any],
) -> None:
    """Compile a package of AOTInductor.

    Raises:
        UserError: It cannot be compiled, perhaps for want of a compiler.
    """
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / 'model.pt2'
        metadata = {KEY: json.dumps(meta)}
        try:
            torch._inductor.aoti_compile_and_package(
                recorded,
                package_path=str(package),
                inductor_configs={'aot_inductor.metadata': metadata},
            )
        except Exception as error:
            raise UserError(
                'AOTInductor cannot compile the program: '
                f'{shorten(error)}; it needs a C++ '
                'compiler (g++, or that of CXX), --format onnx needs none.'
            ) from error
        target.write_bytes(package.read_bytes())


def compare(
    program: nn.Module, run: Callable, samples: Sequence[Tensor]
) -> float:
    """Run what was loaded from a file, and the program it was made of.

    Returns:
        float: The largest difference, relative to the largest value, of all
        outputs; of detectors of the scores, since a tie may exchange boxes.
    """
    differences = []
    for images in samples:
        with torch.no_grad():
            expected = dict(zip(program.outputs, program(images)))
        found = dict(zip(program.outputs, run(images)))
        names = ['scores'] if program.task == 'detection' else expected
        for name in names:
            error = (found[name] - expected[name]).abs().max()
            largest = expected[name].abs().max().clamp(min=1e-3)
            differences.append((error / largest).item())
    return max(differences)


def load(path: str | os.PathLike, format: str) -> Callable:
    """Load a program from a file.

    Returns:
        Callable: From images to a tuple of tensors.
    """
    if format == 'onnx':
        return _load_onnx(os.fspath(path))
    if format == 'torch-export':
        with open(path, 'rb') as file:
            return torch.export.load(file).module()
    with open(path, 'rb') as file:
        return torch._inductor.aoti_load_package(file)


def _load_onnx(path: str) -> Callable:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it logs what it raises

    def run(images: Tensor) -> tuple[Tensor, ...]:
        with _name_fault(f'{tuple(images.shape)}'):
            found = session.run(None, {'images': images.numpy()})
        return tuple(map(torch.from_numpy, found))

    with _name_fault('any size'):
        session = onnxruntime.InferenceSession(
            path, options, providers=['CPUExecutionProvider']
        )
    return run


@contextmanager
def _name_fault(images: str) -> Iterator[None]:
    """Tell a fault of onnxruntime, whose exceptions share no class."""
    import onnxruntime

    try:
        yield
    except Exception as error:
        raise UserError(
            f'onnxruntime {onnxruntime.__version__} cannot run the exported '
            f'program on images of {images}: '
            f'{shorten(error)}; nothing was written. '
            'Update onnx, onnxscript and onnxruntime, or leave out --dynamic, '
            '--batch, --fp16 and --int8.'
        ) from error
