"""The speed of vHeat-T beside Swin-T and ConvNeXt-T, eager and compiled.

Alone on the GPU, behind all other tests.
"""

import pytest

# Each run ends when the time of the whole suite is over.
pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1200)]
NAMES = ('vheat-t', 'swin-t', 'timm-convnext-t')
WAYS = ('vheat-t+plain', *(f'{name}+graph' for name in NAMES))
SIZES = ('4x800x1344', '16x512x512', '64x224x224')
OPTIONS = '--channels-last', '--repeats', 3, '--dtypes'


def test_eager(measure, device):
    """And replayed as CUDA graphs, where the host has nothing to do."""
    if device == 'cpu':
        options = ['--models', 'vheat-n', '--sizes', '1x64x64']
        measure('eager', *options, '--repeats', 2, '--threads', 1)
        return
    measure(
        *('eager', '--models', *NAMES, *WAYS, '--sizes', *SIZES),
        *(*OPTIONS, 'bf16'),
    )


def test_whole_models(measure, cuda):
    """Mask R-CNN and UperNet."""
    sizes = '2x800x1344', '4x512x512'
    measure('whole', '--models', '--configs', '--sizes', *sizes,
              *OPTIONS, 'bf16')  # fmt: skip


def test_compiled(measure, cuda):
    measure('compiled', '--models', *(f'{name}+compile' for name in NAMES),
              '--sizes', SIZES[0], *OPTIONS, 'bf16')  # fmt: skip


def test_single_precision(measure, cuda):
    measure(
        *('tf32', '--models', *NAMES, *WAYS, '--sizes', *SIZES),
        *(*OPTIONS, 'tf32'),
    )


@pytest.mark.parametrize('size', SIZES[1:])
def test_compiled_at_other_sizes(measure, cuda, size):
    measure(f'compiled-{size}', '--models',
              *(f'{name}+compile' for name in NAMES), '--sizes', size,
              *OPTIONS, 'bf16')  # fmt: skip
