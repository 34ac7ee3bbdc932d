# The test images of a model's own config, corrupted on the fly as in
# ImageNet-C, by the package imagecorruptions-imaug.
#
#   python tools/robustness.py CONFIG CHECKPOINT
conditions = 'corruptions'
