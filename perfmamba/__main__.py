"""`python -m perfmamba`."""

from perfmamba.cli import main

main()
