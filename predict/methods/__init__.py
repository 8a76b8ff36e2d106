"""Measurements in, fitted laws and predictions out."""
