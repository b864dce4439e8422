"""harmjax: finding and eliminating harmful training data while hospitals train a model together."""

__version__ = "0.1.0"
