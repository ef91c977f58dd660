"""The claim of the paper put to the test: its arms, their data, their training, and the page of results."""
