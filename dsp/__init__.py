"""Everything that computes on samples: numpy and scipy only, no I/O, no clock, no thread."""
