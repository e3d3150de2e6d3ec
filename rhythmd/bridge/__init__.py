"""Publishes what daemons tell to an MQTT broker: a program of its own that follows them (docs/fleet.md)."""
