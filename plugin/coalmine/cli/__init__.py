"""The `coalmine` command. :mod:`coalmine.cli.client` stands alone: it needs requests, no more."""
