"""The command as a whole: its nouns, and how it ends when something is wrong."""

from __future__ import annotations

import sys

import typer
from typer.exceptions import Abort

from service.cli import attachment, audit, backend, run as running, volume
from service.cli.client import Ended

# Typer has taken Click in and tells only there what a wrong usage is.
from typer._click.exceptions import ClickException, UsageError
