"""Pictures and tables of what was trained: arrays and logs in, files out."""

from .curves import TrainingLog, plot_learning_curves, read_training_log
from .markdown import markdown_table

__all__ = [
    'TrainingLog',
    'markdown_table',
    'plot_learning_curves',
    'read_training_log',
]
