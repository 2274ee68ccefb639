"""What `magpie eval` and `magpie eval-analyses` are made of."""
