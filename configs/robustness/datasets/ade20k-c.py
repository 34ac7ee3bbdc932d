# ADE20K-C: the test images of the config, corrupted on the fly; mPC and rPC as
# in Michaelis et al. 2019.
#
#   python tools/robustness.py CONFIG CHECKPOINT --data ade20k-c
conditions = 'corruptions'
library = 'mmseg'
