"""What is measured: suites, their tasks, and the documents of each."""
