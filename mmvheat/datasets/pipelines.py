"""A transform pipeline that says which file it failed on."""

from __future__ import annotations

from collections.abc import Callable

from mmvheat.errors import UserError

from .checks import unreadable_file


class PipelineNamingFiles:
    """Run a pipeline; where an image file is at fault, say so."""

    def __init__(self, pipeline: Callable) -> None:
        self.pipeline = pipeline
        self.transforms = getattr(pipeline, 'transforms', [])

    def __call__(self, data: dict) -> dict | None:
        keys = ('img_path', 'seg_map_path', 'lq_path')
        paths = [data[key] for key in keys if data.get(key)]
        try:
            return self.pipeline(data)
        except UserError:
            raise  # it says all
        except Exception as error:
            bad = unreadable_file(paths)
            if bad is None:
                if hasattr(error, 'add_note'):  # Python 3.11
                    error.add_note(f'while transforming {paths}')
                raise
            raise UserError(
                f'The image file {bad} cannot be read (empty, damaged or '
                'missing); repair it or remove it from the annotations, '
                'then continue with --resume.'
            ) from error
