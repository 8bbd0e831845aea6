"""A finished study as one file for a repository of data: checked, described, and with digests."""
