"""See what a vHeat conducts: temperature, a film, spectra of k.

    python tools/visualization/vis_heat.py CONFIG CHECKPOINT [IMAGE ...]

For every image: IMAGE_heat.png, heat from its brightest object (or --pixel)
conducted by constant and by predicted k, and a film of it, IMAGE_heat.gif and
.mp4. For the model: spectrum.png, k and its decay by stage and block, with a
table, and with --sizes sizes.png, how they depend on the image size. Without
an image the heat starts in the middle of an empty one.
"""

from mmvheat.cli import run

if __name__ == '__main__':
    run('heat')
