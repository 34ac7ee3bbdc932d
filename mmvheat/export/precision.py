"""ONNX programs in half precision and in eight bits."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def store_half(model: Any) -> None:
    """Store weights that are only read in half precision as such.

    Args:
        model (ONNXProgram): The translation, changed in place.
    """
    import onnx_ir as ir

    graph = model.model.graph
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
