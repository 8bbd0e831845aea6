"""What several test files need: runs, finished results, small studies."""
