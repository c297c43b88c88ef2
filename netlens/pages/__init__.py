"""Pages: the frame of all static pages, as templates, a style and parts. They ask no other host for anything."""

from netlens.pages._frame import environment, is_page, mark

__all__ = ["environment", "is_page", "mark"]
