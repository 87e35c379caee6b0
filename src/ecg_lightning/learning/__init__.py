"""What every network that is trained here shares, whatever it predicts."""
