"""The commands, one module each: docstring = help text, add_arguments(parser), run(args) -> exit code."""
