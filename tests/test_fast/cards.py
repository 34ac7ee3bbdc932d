"""Compile every kernel for cards that need not be here: cards.py 80 90.

The numbers are compute capabilities. Triton's interpreter takes programs that
its compiler refuses.
"""

import importlib
import sys
from types import SimpleNamespace

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from mmvheat.fast.gpu import kernels

TYPES = {torch.float32: 'fp32', torch.bfloat16: 'bf16', torch.float16: 'fp16'}
CAPABILITIES = list(map(int, sys.argv[1:]))
compiled = set()
state = SimpleNamespace()


def get_type(argument):
    if isinstance(argument, torch.Tensor):
        return '*' + TYPES[argument.dtype]
    return 'i32' if isinstance(argument, int) else 'fp32'


def compile_kernel(kernel, grid, *args, **sizes):
    """Stand in for what launches kernels."""
    options = {k: sizes.pop(k) for k in list(sizes) if k.startswith('num_')}
    names = kernel.arg_names
    types = dict(zip(names, map(get_type, args)))
    signature = {name: types.get(name, 'constexpr') for name in names}
    source = ASTSource(kernel, signature, sizes)
    # What a card does not change is compiled for one a dtype.
    products = '.mlp' in kernel.__module__
    for capability in CAPABILITIES if products else [state.capability]:
        target = GPUTarget('cuda', capability, 32)
        assert compile(source, target=target, options=options).asm['cubin']
    compiled.add((kernel.__module__, kernel.__name__))


def main():
    names = 'means', 'convolution', 'convolution_backward', 'decay', 'gate'
    names += 'gate_backward', 'mlp', 'mlp_branch', 'mlp_branch_backward'
    names += 'norm', 'norm_backward', 'norm_sum', 'post_norm'
    for name in names:
        module = importlib.import_module(f'mmvheat.fast.gpu.kernels.{name}')
        module.launch = compile_kernel
        for value in list(vars(module).values()):
            # Of functions, what is behind torch.library.
            function = getattr(value, '__wrapped__', None)
            if function and value.__module__ == module.__name__:
                setattr(module, value.__name__, function)
                if getattr(kernels, value.__name__, None) is value:
                    setattr(kernels, value.__name__, function)
    dtypes = torch.float32, torch.bfloat16
    for dtype, state.capability in zip(dtypes, CAPABILITIES, strict=True):
        for run in (kernels.run_all, kernels.run_on_trial):
            run(torch.device('cpu'), dtype, 96)
    print(len(compiled), 'kernels')


main()
