"""What goes wrong with engines and models, in words for the user."""

from __future__ import annotations


class EngineError(Exception):
    """A model or an engine cannot be opened, or broke. The message names the remedy."""
