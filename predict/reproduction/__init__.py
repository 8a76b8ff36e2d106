"""The paper's results (Tables 4 to 8, Figures 1 to 16), from AI2's measurements, beside the numbers as printed."""
