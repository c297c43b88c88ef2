"""`python -m netlens.cli`."""

from netlens.cli import main

main()
