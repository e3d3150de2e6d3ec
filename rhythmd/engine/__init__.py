"""What `rhythmd engine` does: one module an action."""
