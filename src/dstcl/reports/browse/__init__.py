"""Recorded studies on one page that needs no server: what it holds, and the page itself."""
