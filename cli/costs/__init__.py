"""What Magpie costs on AWS: dated prices, measured figures, and the arithmetic between them."""
