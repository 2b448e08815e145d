"""What holds new objects until something else refers to them."""
