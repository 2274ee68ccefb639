"""Writing a collection out in the format that `magpie import` reads."""
