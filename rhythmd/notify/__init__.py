"""Tells people of alerts: a program of its own that follows daemons (docs/notify.md)."""
