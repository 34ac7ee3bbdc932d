"""What follows from the times of networks, for ``benchmark.py``."""

from __future__ import annotations

from pathlib import Path

from benchmark_measure import fit_exponent, paired_ratio
from benchmark_models import TIMM, split_name


def get_label(name: str) -> str:
    """Get the short name of a network: of a config without its folder."""
    base, plus, options = name.partition('+')
    return (Path(base).stem if base.endswith('.py') else base) + plus + options


def find_peer(label: str, labels: list[str], peer: str) -> str | None:
    """Find what a network is compared with.

    Args:
        label (str): Of the network.
        labels (list[str]): Of all networks that ran.
        peer (str): Name of the peer, a backbone or a config.

    Returns:
        str | None: The peer, compiled as the network is where it ran so; for
        a detector that of the same algorithm.
    """
    base, options = split_name(label)
    wanted = get_label(peer)
    algorithm = base.partition('_')[0]
    if _is_config(base):
        # mask-rcnn_vheat-t_... goes with mask-rcnn_swin-t_...
        wanted = next(
            (
                other
                for other in labels
                if other.startswith(f'{algorithm}_{peer}_')
                and '+' not in other
            ),
            wanted,
        )
        if wanted.partition('_')[0] != algorithm:
            return None
    elif _is_config(wanted):
        return None
    compiled = f'{wanted}+compile'
    if 'compile' in options and compiled in labels:
        return compiled
    return wanted if wanted in labels else None


def _is_config(label: str) -> bool:
    return '_' in label and not label.startswith(TIMM)


def add_peers(rows: list[dict], peer: str) -> None:
    """Add to the rows of a case how they compare with their peers."""
    by_label = {row['model']: row for row in rows}
    for row in rows:
        name = find_peer(row['model'], list(by_label), peer)
        other = by_label.get(name)
        row.update(
            peer=name, ratio=None, ratio_quartiles=None, memory_ratio=None
        )
        if other is None:
            continue
        ratios = paired_ratio(other['seconds'], row['seconds'])
        row.update(ratio=ratios[1], ratio_quartiles=ratios)
        if row['peak_memory'] and other['peak_memory']:
            row['memory_ratio'] = row['peak_memory'] / other['peak_memory']


def fit_exponents(rows: list[dict]) -> list[dict]:
    """Fit how time grows with pixels, for batches of one."""
    series = {}
    for row in rows:
        if row['batch'] == 1:
            key = row['model'], row['mode'], row['dtype']
            series.setdefault(key, []).append(row)
    fits = []
    for (model, mode, dtype), points in series.items():
        exponent = fit_exponent(
            [p['pixels'] for p in points], [p['ms'] for p in points]
        )
        if exponent is not None:
            fits.append(
                dict(model=model, mode=mode, dtype=dtype, exponent=exponent)
            )
    return fits
