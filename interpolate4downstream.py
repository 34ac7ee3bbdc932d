#!/usr/bin/env python
"""Convert vHeat checkpoints for another image size and task."""

import sys

from mmvheat.checkpoint.command import main

if __name__ == '__main__':
    sys.exit(main())
