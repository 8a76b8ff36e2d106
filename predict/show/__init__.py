"""What every analysis shares: tables, plots, the page, and the options of the command lines."""
