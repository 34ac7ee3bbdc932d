# The test images of a model's own config with only their low, or only their
# high, spatial frequencies. Radii are in cycles along the shorter side.
#
#   python tools/robustness.py CONFIG CHECKPOINT --data frequencies
conditions = 'filters'
radii = (1, 2, 4, 8, 16, 32, 64)
