"""The paper's own tables and curves: read out of its PDF, read back, and what they show.

`pdf` opens the file, `panels` turns drawn lines into accuracies, `curves` and `tables` name them;
`data` reads the two CSV files back, and `forensics` has what they show of how they were made.
"""
