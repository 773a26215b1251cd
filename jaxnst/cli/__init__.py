"""The `jaxnst` command: parsing, groups of options, and one file for each command."""
