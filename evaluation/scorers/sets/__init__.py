"""Distances between sets of pictures: each value with its n, its extractor and its uncertainty."""
