"""Every table and figure of the paper, from AI2's measurements, beside the numbers as printed."""
