"""Pictures and tables of what was trained: arrays and logs in, files out."""

from .curves import TrainingLog, plot_learning_curves, read_training_log
from .markdown import markdown_table
from .painting import enlarge, montage, paint_detection, paint_segmentation

__all__ = [
    'TrainingLog',
    'enlarge',
    'markdown_table',
    'montage',
    'paint_detection',
    'paint_segmentation',
    'plot_learning_curves',
    'read_training_log',
]
