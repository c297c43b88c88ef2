"""The playground: a page in the browser to explain pictures, look inside a network, draw and paint.

It needs Gradio, the extra `netlens[playground]`.
"""

from netlens.playground._serve import application, serve
from netlens.playground._studio import Studio

__all__ = ["Studio", "application", "serve"]
