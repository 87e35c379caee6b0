"""What is measured of each variant: its files, scores, sizes, times, and how far it is from the model before."""
