"""The site of the docs: made of the Markdown files and notebooks as they stand, and of the docstrings.

`make docs` writes it into out/docs. `python -m website` is the same, where the extra `docs` is installed.

| file | what it holds |
|---|---|
| `sources.py` | the folder that Sphinx reads: the pages as they lie in the repository, and those made from code |
| `rooms.py` | a page of the API for each public room |
| `glance.py` | the table of methods and objectives with their options, and the page of the command line |
| `conf.py`, `static/` | the settings of Sphinx; colors and widths |
| `docstrings.py`, `autodoc.py` | docstrings as Sphinx reads them, with the options of a class |
| `mathml.py` | formulas without scripts |
| `built.py` | what is wrong with a page that is made: a link to nowhere, a request to another host |
"""
