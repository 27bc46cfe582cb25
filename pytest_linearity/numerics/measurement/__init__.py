"""`measure()`: passes of evaluations over the parameters, reduced to figures as they end."""
