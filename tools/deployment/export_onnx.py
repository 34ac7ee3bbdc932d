#!/usr/bin/env python
"""Export the backbone of a model to ONNX, for images of any size.

    python tools/deployment/export_onnx.py tiny vheat-t.onnx
    python tools/deployment/export_onnx.py CONFIG TARGET --checkpoint CKPT

The program takes ``images`` (B, in_channels, H, W), normalised as in
training, and gives the feature maps ``stage{i}`` of the backbone. It is run
in onnxruntime and compared with the backbone before the file appears. Needs
onnx, onnxscript and onnxruntime.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import warnings

import torch
from mmengine.registry import MODELS

from mmvheat.checkpoint import check_target, load_pretrained
from mmvheat.checkpoint.writer import replace_file
from mmvheat.engine.config import load_config
from mmvheat.engine.errors import UserError, run_main
from mmvheat.models import vHeat

_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
_TOLERANCE = 1e-4


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Export a vHeat backbone to ONNX.', allow_abbrev=False
    )
    parser.add_argument(
        'model',
        help='config file with a vHeat backbone, or the name of an '
        f'arch: {", ".join(vHeat.arch_settings)}',
    )
    parser.add_argument('target', help='file to write')
    parser.add_argument(
        '--checkpoint',
        help='checkpoint of the model or of its backbone, of any layout; '
        'without it the weights are random',
    )
    parser.add_argument(
        '--img-size',
        type=int,
        help='image size in pixels whose frequency grid the embeddings get; '
        'default: that of the config, 224 for an arch',
    )
    parser.add_argument(
        '--force', action='store_true', help='replace an existing target'
    )
    return parser.parse_args()


def build_backbone(
    model: str, checkpoint: str | None = None, img_size: int | None = None
) -> vHeat:
    """Build a backbone for evaluation.

    Args:
        model (str): Config file or name of an arch.
        checkpoint (str, optional): Its weights. Defaults to None, random.
        img_size (int, optional): Overrides the size of the frequency grid.
            Defaults to None.

    Returns:
        vHeat: The backbone.

    Raises:
        UserError: If there is no such model or its backbone is another one.
        CheckpointError: If the checkpoint does not fit.
    """
    if model in vHeat.arch_settings:
        cfg = dict(type='vHeat', arch=model)
    elif model.endswith('.py'):
        cfg = load_config(model).get('model', {}).get('backbone')
        if not cfg:
            raise UserError(f'{model} has no model.backbone to export.')
    else:
        raise UserError(
            f'{model} is neither a .py config nor one of the archs '
            f'{", ".join(vHeat.arch_settings)}.'
        )
    cfg = {**cfg, 'init_cfg': None}
    if img_size is not None:
        cfg['img_size'] = img_size
    try:
        backbone = MODELS.build(cfg)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f'The backbone of {model} cannot be built: '
            f'{" ".join(str(error).split())}'
        ) from error
    if not isinstance(backbone, vHeat):
        raise UserError(
            f'The backbone of {model} is a {type(backbone).__name__}, but a '
            'vHeat is expected.'
        )
    if checkpoint:
        load_pretrained(backbone, checkpoint, mode=backbone.freq_embed_resize)
    return backbone.eval().requires_grad_(False)


def export(backbone: vHeat, target: str | os.PathLike) -> float:
    """Export a backbone, check the program and write it.

    Args:
        backbone (vHeat): In evaluation mode.
        target (str | os.PathLike): The file, replaced if it exists. It
            appears only when the program computes what the backbone does.

    Returns:
        float: The largest difference found, relative to the largest value.

    Raises:
        UserError: If the program differs or cannot be written.
    """
    image = torch.randn(2, backbone.patch_embed.conv1.in_channels, 72, 104)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')  # of the exporter about itself
        program = torch.onnx.export(
            backbone,
            (image,),
            dynamo=True,
            verbose=False,
            input_names=['images'],
            output_names=[f'stage{i}' for i in backbone.out_indices],
            dynamic_shapes=[{0: 'batch', 2: 'height', 3: 'width'}],
        )
    try:
        with replace_file(target) as partial:
            program.save(partial)
            difference = compare(backbone, partial)
            if not difference <= _TOLERANCE:
                raise UserError(
                    f'The exported program differs by {difference:.1e} from '
                    f'the backbone, at most {_TOLERANCE:.0e} was expected; '
                    'nothing was written.'
                )
    except OSError as error:
        raise UserError(
            f'{target} cannot be written: {error.strerror or error}.'
        ) from error
    return difference


def compare(backbone: vHeat, program: str | os.PathLike) -> float:
    """Run a program in onnxruntime at two image sizes.

    One has the frequency grid of the embeddings, one is odd and oblong.

    Returns:
        float: The largest difference from the backbone over all maps,
        relative to the largest value of its map.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(
        os.fspath(program), providers=['CPUExecutionProvider']
    )
    channels = backbone.patch_embed.conv1.in_channels
    differences = []
    for size in (backbone.img_size, (97, 161)):
        images = torch.randn(1, channels, *size)
        with torch.no_grad():
            expected = backbone(images)
        outputs = session.run(None, {'images': images.numpy()})
        for output, eager in zip(outputs, expected):
            error = (torch.from_numpy(output) - eager).abs().max()
            differences.append((error / eager.abs().max()).item())
    return max(differences)


def main() -> None:
    """Export by the options of the command line."""
    args = parse_args()
    missing = [p for p in _PACKAGES if not importlib.util.find_spec(p)]
    if missing:
        raise UserError(
            f'The export needs {", ".join(missing)}; run pip install '
            f'{" ".join(missing)}.'
        )
    check_target(args.target, force=args.force)
    backbone = build_backbone(args.model, args.checkpoint, args.img_size)
    difference = export(backbone, args.target)
    weights = args.checkpoint or 'random weights'
    print(
        f'{args.target}: {args.model} with {weights}, equal to the backbone '
        f'to {difference:.0e} in onnxruntime'
    )


if __name__ == '__main__':
    run_main(main)
