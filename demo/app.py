"""A web page that shows what a vHeat sees.

    make demo
    python demo/app.py --config CONFIG --checkpoint CHECKPOINT [--images DIR]

Without a config it shows the models of the quickstart, and trains them first
if they are not there; the restorer of docs/restoration.md joins them where it
was trained. It listens on this machine alone unless --host says otherwise.
Needs the package gradio: pip install 'mmvheat[demo]'.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import warnings
from argparse import ArgumentParser, Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = Path(sys.prefix, 'demo')
"""Where make demo puts gradio and what it needs: an older pillow."""

sys.path[:0] = [str(ROOT / 'demo'), str(PACKAGES)]

from mmengine.device import get_device  # noqa: E402

from mmvheat.errors import UserError, run_main  # noqa: E402
from mmvheat.visualization.networks import load_network  # noqa: E402

QUICKSTART = {
    'Mask R-CNN: digits outlined': (
        'mask-rcnn_vheat-n_fpn_2e_digit-scenes.py',
        'quickstart/mask_rcnn',
        'digit_scenes/val/*.jpg',
    ),
    'UperNet: digits under every pixel': (
        'upernet_vheat-n_750i_digit-scenes-192x192.py',
        'quickstart/upernet',
        'digit_scenes/val/*.jpg',
    ),
    'Classifier: one digit': (
        'vheat-n_12e_digit-crops-64x64.py',
        'quickstart/classification',
        'digit_scenes/classification/val/*/*.jpg',
    ),
}
RESTORER = (
    'vheatir-n_graydn25_photographs.py',
    'vheatir-n_graydn25_photographs',
    'photographs/test/*',
)
"""Shown as well where it was trained, see docs/restoration.md."""
SAMPLES = 24
LOCAL = ('127.0.0.1', 'localhost', '::1')


def parse_args() -> Namespace:
    """Read the command line."""
    parser = ArgumentParser(
        description='Show what a vHeat sees on a web page.',
        allow_abbrev=False,
    )
    parser.add_argument('--config', help='config (default: the quickstart)')
    parser.add_argument('--checkpoint', help='checkpoint of the config')
    parser.add_argument('--images', help='folder of images to pick from')
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen on; 0.0.0.0 lets other machines in '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--port', type=int, default=7860, help='default: %(default)s'
    )
    parser.add_argument(
        '--device', default=get_device(), help='default: %(default)s'
    )
    parser.add_argument(
        '--no-browser', action='store_true', help='open no browser'
    )
    args = parser.parse_args()
    if bool(args.config) != bool(args.checkpoint):
        parser.error('--config and --checkpoint come together')
    return args


def find_models(args: Namespace) -> dict[str, tuple[str, str, list[str]]]:
    """List config, checkpoint and images of every model to show.

    Trains those of the quickstart if they are not there.

    Raises:
        UserError: If a file is missing or the training fails.
    """
    from mmvheat.commands.arguments import list_images

    if args.config:
        images = []
        if args.images:
            images = [*list_images(args.images).values()][:SAMPLES]
        if not Path(args.checkpoint).is_file():
            raise UserError(f'The checkpoint {args.checkpoint} is not there.')
        models = {Path(args.config).stem: (args.config, args.checkpoint)}
        return {name: (*found, images) for name, found in models.items()}
    if not all(find_checkpoint(run) for _, run, _ in QUICKSTART.values()):
        print('The quickstart has no models yet: it trains them, 10 minutes.')
        trained = subprocess.run(
            [sys.executable, str(ROOT / 'tools/quickstart.py')], cwd=ROOT
        )
        if trained.returncode:
            raise UserError(
                'The quickstart failed, see above; run it again or give '
                '--config and --checkpoint.'
            )
    shown = dict(QUICKSTART)
    if find_checkpoint(RESTORER[1]):
        shown['vHeatIR: noise taken out'] = RESTORER
    models = {}
    for name, (config, run, pattern) in shown.items():
        images = sorted((ROOT / 'data').glob(pattern))
        step = max(1, len(images) // SAMPLES)
        models[name] = (
            str(ROOT / 'configs/quickstart' / config),
            str(find_checkpoint(run)),
            [str(image) for image in images[::step][:SAMPLES]],
        )
    return models


def find_checkpoint(run: str) -> Path | None:
    """Find the last checkpoint of a run below work_dirs."""
    folder = ROOT / 'work_dirs' / run
    pointer = folder / 'last_checkpoint'
    if not pointer.is_file():
        return None
    # by its name: the folder may have been moved
    path = folder / Path(pointer.read_text().strip()).name
    return path if path.is_file() else None


def import_page():
    """Import the page.

    Raises:
        UserError: If gradio is missing.
    """
    os.environ.setdefault('GRADIO_ANALYTICS_ENABLED', 'False')
    try:
        import page
    except ImportError as error:
        raise UserError(
            f'The page needs gradio, which does not import ({error}); run '
            "make demo, or pip install 'mmvheat[demo]'."
        ) from error
    return page


def main() -> None:
    """Serve the page until the keyboard interrupts."""
    # Said by mmengine whenever it looks for a package.
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')
    args = parse_args()
    # What visitors send and see goes with the process, however it ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        os.environ['GRADIO_TEMP_DIR'] = folder
        page = import_page()
        exhibits, samples = load(args)
        serve(page.build_page(exhibits, samples), args)


def load(args: Namespace) -> tuple[dict, dict]:
    """Load the networks, and list the images to pick from."""
    from exhibit import Exhibit

    exhibits, samples = {}, {}
    for name, (config, path, images) in find_models(args).items():
        network = load_network(config, path, device=args.device, whole=True)
        exhibits[name], samples[name] = Exhibit(network), images
    return exhibits, samples


def serve(page, args: Namespace) -> None:
    """Serve a page."""
    import gradio as gr

    if args.host not in LOCAL:
        print(f'Everybody who reaches {args.host} can use this page.')
    try:
        page.queue(default_concurrency_limit=2, max_size=20).launch(
            server_name=args.host,
            server_port=args.port,
            inbrowser=not args.no_browser,
            share=False,
            max_file_size='20mb',
            ssr_mode=False,
            footer_links=[],
            # none of the fonts that the theme would load from elsewhere
            theme=gr.themes.Default(font='sans-serif', font_mono='monospace'),
        )
    except OSError as error:
        raise UserError(
            f'The page cannot listen on {args.host}:{args.port} ({error}); '
            'choose another --port or --host.'
        ) from error


if __name__ == '__main__':
    run_main(main)
