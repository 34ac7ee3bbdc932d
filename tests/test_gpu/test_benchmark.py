"""The speed of vHeat-T beside Swin-T and ConvNeXt-T, eager and compiled."""

import pytest

# Each run ends when the time of the whole suite is over.
pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1200)]
MODELS = ('vheat-t', 'vheat-t+plain', 'vheat-t+all', 'swin-t', 'convnext-t')
COMPILED = ('vheat-t', 'swin-t', 'convnext-t')
SIZES = ('64x224x224', '16x512x512', '4x800x1344')


def test_eager(benchmark, device):
    if device == 'cpu':
        options = ['--models', 'vheat-n', '--sizes', '1x64x64']
        benchmark('eager', *options, '--repeats', 2, '--threads', 1)
        return
    benchmark(
        'eager',
        *('--models', *MODELS, '--sizes', *SIZES),
        *('--dtypes', 'fp32', 'bf16', '--modes', 'eval', 'train'),
    )


@pytest.mark.parametrize('size', SIZES)
def test_compiled(benchmark, cuda, size):
    benchmark(
        f'compiled-{size}',
        *('--compile', '--models', *COMPILED, '--sizes', size),
        *('--dtypes', 'bf16', '--modes', 'eval', 'train'),
    )
