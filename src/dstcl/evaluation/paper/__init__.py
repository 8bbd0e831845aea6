"""The paper's tables and figures beside a study's numbers, in the same form."""
