"""What a person reads: the page, the summary in Markdown, the few numbers of `dvc metrics`."""
