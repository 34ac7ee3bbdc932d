#!/usr/bin/env python
"""Export a whole model to a program that runs without OpenMMLab.

    python tools/deployment/export.py CONFIG CHECKPOINT model.onnx
    python tools/deployment/export.py CONFIG CHECKPOINT model.onnx --dynamic
    python tools/deployment/export.py tiny none vheat-t.onnx --backbone

The program takes uint8 images (B, H, W, 3), RGB, and holds normalisation,
network, decoding of boxes and suppression. Classes, palette and thresholds
are in the file. It is run and compared with the model before it appears.
``python -m mmvheat.deploy model.onnx IMAGE`` paints what it predicts, see
docs/deployment.md. Needs onnx, onnxscript and onnxruntime.
"""

from mmvheat.cli import run

if __name__ == '__main__':
    run('export')
