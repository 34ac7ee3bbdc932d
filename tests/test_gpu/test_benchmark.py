"""The speed of vHeat-T beside Swin-T and ConvNeXt-T, eager and compiled."""

import pytest

# Each run ends when the time of the whole suite is over.
pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1200)]
PEERS = ('swin-t', 'timm-convnext-t')
COMPILED = ('vheat-t', *PEERS)
WAYS = ('vheat-t+plain', *(f'{name}+graph' for name in COMPILED))
SIZES = ('64x224x224', '16x512x512', '4x800x1344')


def test_eager(benchmark, device):
    """And replayed as CUDA graphs, where the host has nothing to do."""
    if device == 'cpu':
        options = ['--models', 'vheat-n', '--sizes', '1x64x64']
        benchmark('eager', *options, '--repeats', 2, '--threads', 1)
        return
    benchmark(
        'eager',
        *('--models', *COMPILED, *WAYS, '--sizes', *SIZES, '--repeats', 3),
        *('--dtypes', 'bf16', 'tf32', '--modes', 'eval', 'train'),
        '--channels-last',
    )


@pytest.mark.parametrize('size', SIZES)
def test_compiled(benchmark, cuda, size):
    benchmark(
        f'compiled-{size}',
        *('--compile', '--models', *COMPILED, '--sizes', size),
        *('--dtypes', 'bf16', '--modes', 'eval', '--repeats', 3),
        '--channels-last',
    )
