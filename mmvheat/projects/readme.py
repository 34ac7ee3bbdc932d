"""The README of a project."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from .fitting import Fit
from .models import Base
from .records import DataSet


def write_readme(
    data: DataSet, base: Base, fit: Fit, title: str, config: str, target: Path
) -> str:
    """Three commands, and what lies where."""
    run = f'work_dirs/{Path(config).stem}'
    last = f'{run}/epoch_{fit.epochs}.pth'
    if data.task == 'segmentation':
        # The loop counts iterations.
        last = f'{run}/iter_{fit.epochs * fit.steps(data)}.pth'
    weights = ''
    if not base.weights and base.url:
        get = (
            f'curl -L --create-dirs -o checkpoints/{base.url.split("/")[-1]} '
            f'\\\n    {base.url}'
        )
        if base.model.weights:
            get = (
                'mkdir -p checkpoints\n'
                f'mim download mmvheat --config {base.model.name} --dest '
                f'checkpoints\n# or: {get}'
            )
            get = get.replace(' \\\n    ', ' ')
        weights = f"""
## Weights

None were found, so that training starts from scratch. From these it gets far
further:

```bash
{get}
mmvheat new --update --out .
```
"""
    library = base.cfg.default_scope
    return f"""# {title}

{base.short} for {len(data.classes)} classes; written by `mmvheat new`, yours
to edit. The data are described in [report/report.md](report/report.md).

```bash
cd {quote(str(target))}
mmvheat train {config}
mmvheat test {config} {last} --show-dir painted
mmvheat infer IMAGE_OR_FOLDER --config {config} \\
    --checkpoint {last} --out-dir predictions
```

`{run}/best_*.pth` is the best checkpoint so far. The config is an ordinary
one, so that the tools of {library} run it too, and so does mim:

```bash
mim train mmvheat {config} --work-dir {run}
mim test mmvheat {config} --checkpoint {last}
```
{weights}
## What lies where

| | |
| :--- | :--- |
| [{config}]({config}) | the config: data, model, schedule |
| `import_mmvheat.py` | lets the tools of {library} find `mmvheat::` |
| `labels/` | the labels as {library} reads them, made from yours |
| `labels/splits.csv` | the split, if it was drawn here; edit and update |
| `report/` | what was found in the data, all of it in `findings.csv` |
| `project.json` | what was written last, for `--update` |

When the data change, `mmvheat new --update --out .` makes labels and report
anew, shows how the config changes and keeps your edits.
"""
