"""Loads, converts and downloads the weights of VGG19."""
