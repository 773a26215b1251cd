"""The `jaxnst` command: parsing, option groups, and one file for each command."""
