"""Pictures of what was trained: arrays and logs in, files out."""

from .curves import TrainingLog, plot_learning_curves, read_training_log

__all__ = [
    'TrainingLog',
    'plot_learning_curves',
    'read_training_log',
]
