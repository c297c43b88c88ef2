"""Reports: a survey as static pages, with pictures, explanations and the channels of each layer."""

from netlens.report._report import Report

__all__ = ["Report"]
