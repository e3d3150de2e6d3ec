"""Everything on the device that waits, owns or talks."""
