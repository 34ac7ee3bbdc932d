"""What models cost, and which of several is better."""
