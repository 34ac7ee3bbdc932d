"""Draw what a model sees in one image or a folder of them.

    python tools/infer.py IMAGE_OR_FOLDER --config CONFIG \
        --checkpoint CHECKPOINT --out-dir DIR

Boxes and masks, label maps, class names or a restored image, as the config
says. DIR receives ``vis/`` with one picture per image, and the predictions:
``label_maps/`` for segmentation, ``restored/`` for restoration, else
``predictions.json``. Sub-folders are kept.

A restorer degrades the image first, as the config's test does, and the picture
shows degraded, restored and clean image and their difference; with
``--degraded`` it takes the image as it is. Images of more than a million
pixels are restored in tiles; ``--cfg-options model.tile=SIDE`` sets a side.
"""

from mmvheat.cli import run

if __name__ == '__main__':
    run('infer')
