"""Programs as files: ONNX, torch.export, AOTInductor; fp16 and int8."""

from __future__ import annotations

import json
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from mmvheat.checkpoint.writer import replace_file
from mmvheat.engine.errors import UserError

from .programs import Backbone, fix_decays, free_sizes, make_images

KEY = 'mmvheat'
_TOLERANCES = dict(fp32=1e-3, fp16=5e-2, int8=float('inf'))
# For programs of any size. A side of 1 in a map would be taken as a constant,
# as would one that two maps or both sides share: at strides up to 128 there
# are 3 x 4 cells or more, and different ones.
_RECORDED_SIZE = (288, 416)
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


def record(
    program: nn.Module, size: tuple[int, int], dynamic: bool, batch: bool
) -> torch.export.ExportedProgram:
    """Record what a program computes by ``torch.export``.

    Raises:
        UserError: Something in it cannot be recorded.
    """
    high, wide = (2, 3) if isinstance(program, Backbone) else (1, 2)
    any_size = torch.export.Dim.DYNAMIC
    dims = {high: any_size, wide: any_size} if dynamic else {}
    # One image would be taken as a constant.
    if batch:
        dims[0] = any_size
    if dynamic:
        size = _RECORDED_SIZE
    images = make_images(program, size, batch=2 if batch else 1)
    with name_failures(program), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')
        return torch.export.export(
            program, (images,), dynamic_shapes=(dims,) if dims else None
        )


@contextmanager
def name_failures(program: nn.Module) -> Iterator[None]:
    """Name the module in which a recording fails, and what to do."""
    entered: list[nn.Module] = []
    names = {module: name for name, module in program.named_modules()}
    handles = [
        hooks.register_module_forward_pre_hook(
            lambda module, args: entered.append(module)
        ),
        hooks.register_module_forward_hook(
            lambda module, args, output: entered.pop() and None
        ),
    ]
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        known = [m for m in entered if m in names] or [program]
        raise _refusal(str(error), names[known[-1]], known[-1]) from error
    finally:
        for handle in handles:
            handle.remove()


def _refusal(reason: str, name: str, module: nn.Module | str) -> UserError:
    kind = module if isinstance(module, str) else type(module).__name__
    operator = _find_operator(reason)
    what = f'The operator {operator}' if operator else 'What is computed'
    reason = ' '.join(reason.split())[:200]
    return UserError(
        f'{what} in the module {name.removeprefix("model.") or "(root)"} '
        f'({kind}) cannot be exported: replace that module, or export the '
        f'backbone alone with --backbone. The exporter says: {reason}'
    )


def _find_operator(reason: str) -> str:
    """Find the name of an operator in a message of the exporter."""
    found = re.search(r"op='([\w.]+)'|(aten[.:]+\w+)", reason)
    return next(filter(None, found.groups())) if found else ''


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
        raise _refusal(reason, *_find_module(recorded, reason)) from error
    _name_sizes(found, program)
    if half:
        _store_half(found)
    return found


def _find_module(
    recorded: torch.export.ExportedProgram, reason: str
) -> tuple[str, str]:
    """Find name and type of the module of the operator in a message."""
    operator = _find_operator(reason).replace('.', '::')
    # It may be one of those that another was decomposed into.
    for decompose in (lambda: recorded, recorded.run_decompositions):
        for node in decompose().graph.nodes:
            stack = node.meta.get('nn_module_stack')
            schema = getattr(node.target, '_schema', None)
            if stack and schema is not None and schema.name == operator:
                path, kind = list(stack.values())[-1]
                return path, str(kind).rsplit('.', 1)[-1].rstrip("'>")
    return '', 'program'


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


def _store_half(found: Any) -> None:
    """Store weights that are only read in half precision as such."""
    import onnx_ir as ir

    graph = found.model.graph
    for name, value in list(graph.initializers.items()):
        users = [node for node, _ in value.uses()]
        if not users or any(
            node.op_type != 'Cast'
            or node.attributes['to'].as_int() != ir.DataType.FLOAT16
            for node in users
        ):
            continue
        array = value.const_value.numpy().astype(np.float16)
        stored = ir.Value(
            name=name,
            shape=value.shape,
            type=ir.TensorType(ir.DataType.FLOAT16),
            const_value=ir.tensor(array, name=name),
        )
        for node in users:
            node.outputs[0].replace_all_uses_with(stored)
            graph.remove(node, safe=True)
        del graph.initializers[name]
        graph.initializers[name] = stored


def quantize(
    model: Any, target: Path, calibration: Sequence[np.ndarray]
) -> None:
    """Quantise layers with weights to int8, statically, with onnxruntime.

    Activations and weights of convolutions and products are int8, weights a
    channel. Cosine transforms and what follows the network stay as they are.

    Args:
        model (ONNXProgram): The translation.
        target (Path): The file to write.
        calibration (Sequence[ndarray]): Images as the program takes them.
    """
    from onnxruntime import quantization

    class Images(quantization.CalibrationDataReader):
        images = iter(calibration)

        def get_next(self) -> dict | None:
            image = next(self.images, None)
            return None if image is None else dict(images=image)

    with tempfile.TemporaryDirectory() as folder:
        plain = str(Path(folder) / 'plain.onnx')
        ready = str(Path(folder) / 'ready.onnx')
        model.save(plain)
        quantization.quant_pre_process(plain, ready, skip_symbolic_shape=True)
        quantization.quantize_static(
            ready,
            target,
            Images(),
            op_types_to_quantize=['Conv', 'MatMul', 'Gemm'],
            nodes_to_exclude=_list_unquantized(ready),
            per_channel=True,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )


def _list_unquantized(path: str) -> list[str]:
    """List products without weights, among them cosine transforms."""
    import onnx

    graph = onnx.load(path).graph
    weights = {
        i.name
        for i in graph.initializer
        if not i.name.rsplit('.', 1)[-1].startswith(('rows', 'columns'))
    }
    return [
        node.name
        for node in graph.node
        if node.op_type in ('Conv', 'MatMul', 'Gemm')
        and not weights.intersection(node.input[1:2])
    ]


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
                f'{" ".join(str(error).split())[:200]}; it needs a C++ '
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
            f'{" ".join(str(error).split())[:200]}; nothing was written. '
            'Update onnx, onnxscript and onnxruntime, or leave out --dynamic, '
            '--batch, --fp16 and --int8.'
        ) from error
