"""Everything that runs a network: arrays in, arrays out."""
