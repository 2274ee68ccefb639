"""The `magpie` command: Magpie on one machine, and any deployment of it."""
