"""`python -m flows` is `humwatch`."""

from flows.cli import main

main()
