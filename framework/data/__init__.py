"""Data sets: `load` a `DataSpec` into validated `Splits` of uint8 images."""

from framework.data.resolve import DECODED_LIMIT, load
from framework.data.source import ImageSource, Splits, check_classes

__all__ = ["DECODED_LIMIT", "ImageSource", "Splits", "check_classes", "load"]
