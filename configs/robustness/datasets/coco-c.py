# COCO-C: the test images of the config, corrupted on the fly; mPC and rPC as
# in Michaelis et al. 2019.
#
#   python tools/robustness.py CONFIG CHECKPOINT --data coco-c
conditions = 'corruptions'
library = 'mmdet'
