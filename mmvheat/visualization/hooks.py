"""Hooks that draw while a model trains, or when that is done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmvheat.models import vHeat

from .curves import plot_learning_curves
from .heat import collect_k, compute_spectra
from .heat_pictures import draw_spectra
from .layers import PictureError
from .style import render


@HOOKS.register_module()
class LearningCurvesHook(Hook):
    """Leave losses and validation metrics as a picture in the work dir.

    Args:
        filename (str): The picture. Defaults to ``'learning_curves.png'``.
    """

    priority = 'LOWEST'

    def __init__(self, filename: str = 'learning_curves.png') -> None:
        self.filename = filename

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Draw them."""
        out = Path(runner.work_dir, self.filename)
        # a config that was built in Python has no file
        title = Path(runner.cfg.filename or runner.work_dir).stem
        try:
            plot_learning_curves({title: runner.work_dir}, out)
        except FileNotFoundError as error:
            runner.logger.warning(f'No learning curves were drawn: {error}')
        else:
            runner.logger.info(f'Learning curves are in {out}.')


@HOOKS.register_module()
class KSpectrumHook(Hook):
    """Give spectra of k to the visualizer, and so to TensorBoard.

    Off by default; one line of a config switches it on::

        custom_hooks = [dict(type='KSpectrumHook', interval=1)]

    It logs ``k_spectrum/stage{i}_block{j}/mean_k`` (in cells squared),
    ``.../half_decay_cells`` (details of a smaller radius lose more than half
    of their height) and ``.../energy`` (share that survives), counted from
    1, and the picture ``k_spectrum``.

    Args:
        interval (int): Epochs, or iterations, from log to log.
            Defaults to 1.
        by_epoch (bool): Whether the interval counts epochs.
            Defaults to True.
        img_size (int, optional): Side of the images in pixels whose k is
            logged. Defaults to None, the grid of the embeddings.

    Raises:
        ValueError: If the interval is not positive, or the model has no
            vHeat.
    """

    priority = 'LOW'

    def __init__(
        self,
        interval: int = 1,
        by_epoch: bool = True,
        img_size: int | None = None,
    ) -> None:
        if interval < 1:
            raise ValueError(
                f'interval must be at least 1, but got {interval}'
            )
        self.interval = interval
        self.by_epoch = by_epoch
        self.img_size = img_size

    def before_train(self, runner: Runner) -> None:
        """Find the backbone before it costs time.

        Raises:
            ValueError: If there is none, or it conducts no heat.
        """
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        found = [m for m in model.modules() if isinstance(m, vHeat)]
        if not found:
            raise ValueError(
                "KSpectrumHook needs a backbone of type='vHeat', but the "
                'model has none; leave the hook out of the config'
            )
        self.backbone = found[0]
        try:
            collect_k(self.backbone, self.backbone.img_size)
        except PictureError as error:
            raise ValueError(
                f'KSpectrumHook has nothing to log: {error}'
            ) from error

    def after_train_epoch(self, runner: Runner) -> None:
        """Log after every ``interval`` epochs."""
        if self.by_epoch and self.every_n_epochs(runner, self.interval):
            self.log(runner, runner.epoch + 1)

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Log after every ``interval`` iterations."""
        if not self.by_epoch and self.every_n_train_iters(
            runner, self.interval
        ):
            self.log(runner, runner.iter + 1)

    @master_only
    def log(self, runner: Runner, step: int) -> None:
        """Log the spectra of every block."""
        size = self.backbone.img_size
        if self.img_size:
            size = (self.img_size, self.img_size)
        spectra, scalars = compute_spectra(self.backbone, size), {}
        for i, blocks in enumerate(spectra, 1):
            for j, spectrum in enumerate(blocks, 1):
                values = dict(
                    mean_k=spectrum.k.mean(),
                    half_decay_cells=spectrum.half_decay_cells,
                    energy=spectrum.energy,
                )
                for name, value in values.items():
                    scalars[f'k_spectrum/stage{i}_block{j}/{name}'] = float(
                        np.nan_to_num(value)
                    )
        visualizer = runner.visualizer
        visualizer.add_scalars(scalars, step=step)
        picture = render(draw_spectra(spectra, f'step {step}'))
        visualizer.add_image('k_spectrum', picture, step=step)
