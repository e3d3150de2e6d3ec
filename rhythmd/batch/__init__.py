"""Many recordings: which there are, where their files lie, who does them, and a table of what came out."""
