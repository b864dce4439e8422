"""The version of harmjax."""

__version__ = "0.1.0"
