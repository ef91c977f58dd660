"""Episodes and the windows over them that training reads."""
