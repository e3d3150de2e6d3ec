"""The live page's server: a subscriber that relays what the daemon publishes to browsers. `rhythmd monitor`."""
