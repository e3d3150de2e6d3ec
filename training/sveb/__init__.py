"""The network that follows a person's beats: made-up rhythms, runs, signals, training and export."""
